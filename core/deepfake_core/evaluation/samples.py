"""Choose and group the samples of a dataset for evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.inputs.sources import Frames, Source, as_source

if TYPE_CHECKING:
    from deepfake_core.inputs.sources import Picture


class Subset(Dataset):
    """Some samples of a dataset, which is not listed again.

    Args:
        dataset: Dataset that the samples are from.
        samples: Chosen samples.
    """

    def __init__(self, dataset: Dataset, samples: Iterable[Sample]) -> None:
        super().__init__(dataset.root)
        self.dataset = dataset
        self.samples = tuple(samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def stream(self) -> Iterator[tuple[Sample, Path | bytes]]:
        if type(self.dataset).stream is Dataset.stream:
            return super().stream()
        wanted = frozenset(self.samples)
        return ((sample, data) for sample, data in self.dataset.stream() if sample in wanted)

    def read(self, sample: Sample) -> Path | bytes:
        return self.dataset.read(sample)


def evenly(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Choose at most ``limit`` files or videos of each source and class, evenly spread over the list.

    Frames of one video stay together and count once.
    """
    cells: dict[tuple[str, bool], dict[object, list[Sample]]] = {}
    for place, sample in enumerate(samples):
        unit = sample.group if sample.frame >= 0 else place
        cells.setdefault((sample.source, sample.is_fake), {}).setdefault(unit, []).append(sample)
    kept: list[Sample] = []
    for units in cells.values():
        here = list(units.values())
        for place in sorted({rank * len(here) // limit for rank in range(limit)}):
            kept += here[place]
    return kept


def whole_videos(samples: Iterable[Sample]) -> list[list[Sample]]:
    """Group samples for a detector of clips: the frames of one video together, in order; every other sample alone."""
    found: dict[tuple[str, str, bool] | str, list[Sample]] = {}
    for sample in samples:
        one = (sample.group, sample.source, sample.is_fake) if sample.frame >= 0 else sample.name
        found.setdefault(one, []).append(sample)
    return [sorted(unit, key=lambda sample: sample.frame) for unit in found.values()]


def as_input(dataset: Dataset, unit: Sequence[Sample]) -> Source:
    """Return one group of :func:`whole_videos` as an input; its frames are read when they are needed.

    Args:
        dataset: Dataset that reads the samples.
        unit: A single sample, or all frames of one video.

    Raises:
        OSError: The archive of a single sample cannot be read.
    """
    if unit[0].frame < 0:
        return as_source(dataset.read(unit[0]))
    return Source(unit[0].group, Frames(_LazyFrames(dataset, unit)))


class _LazyFrames(Sequence["Picture"]):
    """Frames of a dataset, each read when it is asked for."""

    def __init__(self, dataset: Dataset, samples: Sequence[Sample]) -> None:
        self.dataset = dataset
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, which: int) -> Picture: ...
    @overload
    def __getitem__(self, which: slice) -> Sequence[Picture]: ...
    def __getitem__(self, which: int | slice) -> Picture | Sequence[Picture]:
        if isinstance(which, slice):
            return _LazyFrames(self.dataset, self.samples[which])
        return self.dataset.read(self.samples[which])

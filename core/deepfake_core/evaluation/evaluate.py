"""A labelled dataset, judged: what fitting, measuring and exporting all begin with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import Frames, Source

if TYPE_CHECKING:
    from deepfake_core.handle.predictor import Predictor
    from deepfake_core.handle.results import Result
    from deepfake_core.inputs.sources import Picture


class Subset(Dataset):
    """Some samples of a dataset, which is not listed again.

    Args:
        dataset: What they are of.
        samples: The chosen ones.
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
    """At most ``limit`` files or videos of each source and class, evenly spread; frames of one video stay together."""
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


def evaluate(
    detector: Predictor, dataset: Dataset, *, evidence: bool = False, keep_crops: bool = False, frames: int = 16
) -> Iterator[tuple[Sample, Result]]:
    """Every sample with the detector's result, in the order that is cheapest to read.

    A detector of clips is given the frames of one video together: the first of them stands for all.

    Args:
        detector: What judges.
        dataset: Labelled samples.
        evidence: As for :meth:`~deepfake_core.handle.loaded.Predictor.stream`.
        keep_crops: Likewise.
        frames: Likewise.

    Raises:
        TrainingDataError: An archive cannot be read.
    """
    whole = detector.manifest.preprocess.clip is not None
    waiting: deque[Sample] = deque()

    def inputs() -> Iterator[Path | bytes | Source]:
        try:
            if whole:
                for shown in whole_videos(dataset):
                    waiting.append(shown[0])
                    yield as_input(dataset, shown)
                return
            for sample, data in dataset.stream():
                waiting.append(sample)
                yield data
        except OSError as error:
            raise TrainingDataError(f"{dataset.root}: cannot be read ({error}); restore the file") from error

    for result in detector.stream(inputs(), evidence=evidence, keep_crops=keep_crops, frames=frames):
        yield waiting.popleft(), result


def whole_videos(samples: Iterable[Sample]) -> list[list[Sample]]:
    """Samples as a detector of clips takes them: the frames of one video together, in order; everything else alone."""
    found: dict[tuple[str, str, bool] | str, list[Sample]] = {}
    for sample in samples:
        one = (sample.group, sample.source, sample.is_fake) if sample.frame >= 0 else sample.name
        found.setdefault(one, []).append(sample)
    return [sorted(shown, key=lambda sample: sample.frame) for shown in found.values()]


def as_input(dataset: Dataset, shown: Sequence[Sample]) -> Path | bytes | Source:
    """One of :func:`whole_videos`, as a detector takes it; frames are read when they are needed, wherever they lie.

    Raises:
        OSError: The archive of a single sample cannot be read.
    """
    if shown[0].frame < 0:
        return dataset.read(shown[0])
    return Source(shown[0].group, Frames(_Read(dataset, shown)))


class _Read(Sequence["Picture"]):
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
            return _Read(self.dataset, self.samples[which])
        return self.dataset.read(self.samples[which])

"""Choose and group the samples of a dataset for evaluation."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, overload

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.decode import name_of
from deepfake_core.inputs.sources import Frames, Source, has_video_suffix

if TYPE_CHECKING:
    from deepfake_core.handle.results import Result
    from deepfake_core.inputs.sources import Picture

Reader: TypeAlias = "Callable[[], Path | bytes]"
"""Function that returns the path of a sample's file, or its bytes."""


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
        if in_any_order(self.dataset) or all(sample.span is not None for sample in self.samples):
            return super().stream()
        wanted = frozenset(self.samples)
        return ((sample, data) for sample, data in self.dataset.stream() if sample in wanted)

    def read(self, sample: Sample) -> Path | bytes:
        return self.dataset.read(sample)

    def state(self, sample: Sample) -> object:
        return self.dataset.state(sample)


def in_any_order(dataset: Dataset) -> bool:
    """Return whether each sample can be read by itself at no further cost, as from files of its own.

    From a compressed archive or a table, a call of :meth:`Dataset.read` costs as much as reading all that lies before
    the sample: such a dataset is read by :meth:`Dataset.stream`.
    """
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return type(dataset).stream is Dataset.stream


def readers(dataset: Dataset) -> Iterator[tuple[Sample, Reader]]:
    """Yield every sample with the function that reads it, in the order of :meth:`Dataset.stream`.

    Files of their own are read by the thread that calls the function, everything else before its sample is yielded.

    Raises:
        TrainingDataError: Labels are missing or ambiguous, or an archive is damaged.
        OSError: An archive cannot be read.
    """
    if in_any_order(dataset):
        return ((sample, partial(dataset.read, sample)) for sample in dataset)
    return ((sample, partial(_given, data)) for sample, data in dataset.stream())


def _given(data: Path | bytes) -> Path | bytes:
    return data


def is_video(sample: Sample, result: Result | None = None) -> bool:
    """Return whether a sample is a video: as it was judged, or else by the suffix of its file or archive member.

    Args:
        sample: Sample to look at; the frames of a video that are files of their own are images.
        result: Result of the sample, if there is one.
    """
    if mode := getattr(result, "mode", ""):
        return sample.frame < 0 and mode == "video"
    return has_video_suffix(sample.member or sample.path)


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


def inputs_of_videos(dataset: Dataset) -> Iterator[tuple[list[Sample], Source]]:
    """Yield each group of :func:`whole_videos` with its input; an archive is read once, however many groups it holds.

    Frames that can be read by themselves are read when they are needed. Those of a compressed archive are read in the
    archive's order, and a video is yielded when all of its frames were read.

    Raises:
        TrainingDataError: An archive is damaged, or lacks a sample that it had when it was listed.
        OSError: The archive of a sample cannot be read.
    """
    alone = in_any_order(dataset)
    waiting: dict[Sample, list[Sample]] = {}
    for unit in whole_videos(dataset):
        if alone or all(sample.span is not None for sample in unit):
            yield unit, as_input(dataset, unit)
        else:
            waiting.update((sample, unit) for sample in unit)
    missing = Counter(id(unit) for unit in waiting.values())
    found: dict[Sample, Path | bytes] = {}
    for sample, data in Subset(dataset, waiting).stream() if waiting else ():
        if sample not in waiting:
            continue  # listed twice
        unit = waiting.pop(sample)
        found[sample] = data
        missing[id(unit)] -= 1
        if not missing[id(unit)]:
            content = [found[frame] for frame in unit]
            for frame in unit:
                found.pop(frame, None)
            yield unit, _joined(unit, content)
    if waiting:
        raise TrainingDataError(f"{next(iter(waiting)).name}: is gone since the dataset was listed; restore it")


def as_input(dataset: Dataset, unit: Sequence[Sample]) -> Source:
    """Return one group of :func:`whole_videos` as an input; its frames are read when they are needed.

    Args:
        dataset: Dataset that reads the samples.
        unit: A single sample, or all frames of one video.

    Raises:
        OSError: The archive of a single sample cannot be read.
    """
    if unit[0].frame < 0:
        return input_of(unit[0], dataset.read(unit[0]))
    return Source(unit[0].group, Frames(_LazyFrames(dataset, unit)))


def _joined(unit: Sequence[Sample], content: Sequence[Path | bytes]) -> Source:
    return input_of(unit[0], content[0]) if unit[0].frame < 0 else Source(unit[0].group, Frames(content))


def input_of(sample: Sample, data: Path | bytes) -> Source:
    """Return what was read of a sample as exactly one input, which gives exactly one result.

    A path is not expanded: one that is missing, or a folder, gives an error, even if its name is a pattern that other
    files match.
    """
    return Source(name_of(sample.name), os.fsdecode(data) if isinstance(data, str | os.PathLike) else data)


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

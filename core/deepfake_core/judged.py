"""A labelled dataset, judged: what fitting, measuring and exporting all begin with."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.errors import TrainingDataError

if TYPE_CHECKING:
    from deepfake_core.loaded import LoadedDetector
    from deepfake_core.results import Result


class Subset(Dataset):
    """Some samples of a dataset, in its order.

    Args:
        dataset: What they are of.
        samples: The chosen ones.
    """

    def __init__(self, dataset: Dataset, samples: Iterable[Sample]) -> None:
        super().__init__(dataset.root)
        self.dataset = dataset
        self.samples = frozenset(samples)

    def __iter__(self) -> Iterator[Sample]:
        return (sample for sample in self.dataset if sample in self.samples)

    def stream(self) -> Iterator[tuple[Sample, Path | bytes]]:
        return ((sample, data) for sample, data in self.dataset.stream() if sample in self.samples)

    def read(self, sample: Sample) -> Path | bytes:
        return self.dataset.read(sample)


def judged(
    detector: LoadedDetector, dataset: Dataset, *, evidence: bool = False, keep_crops: bool = False, frames: int = 16
) -> Iterator[tuple[Sample, Result]]:
    """Every sample with the detector's result, in the order that is cheapest to read.

    A detector of clips is given folders of frames whole: one sample and one result for each.

    Args:
        detector: What judges.
        dataset: Labelled samples.
        evidence: As for :meth:`~deepfake_core.loaded.LoadedDetector.stream`.
        keep_crops: Likewise.
        frames: Likewise.

    Raises:
        TrainingDataError: An archive cannot be read, or holds single frames and the detector takes clips.
    """
    whole = detector.manifest.preprocess.clip is not None
    waiting: deque[Sample] = deque()

    def inputs() -> Iterator[Path | bytes]:
        try:
            for sample, data in _videos(dataset) if whole else dataset.stream():
                waiting.append(sample)
                yield data
        except OSError as error:
            raise TrainingDataError(f"{dataset.root}: cannot be read ({error}); restore the file") from error

    for result in detector.stream(inputs(), evidence=evidence, keep_crops=keep_crops, frames=frames):
        yield waiting.popleft(), result


def _videos(dataset: Dataset) -> Iterator[tuple[Sample, Path | bytes]]:
    """Samples as they are, but for frames: one sample, whose path is their folder, for all frames of a video."""
    seen: set[Path] = set()
    for sample, data in dataset.stream():
        if sample.frame < 0:
            yield sample, data
        elif not isinstance(data, Path):
            raise TrainingDataError(
                f"{sample.name}: is a frame in an archive, and clips need its neighbours; unpack it"
            )
        elif data.parent not in seen:
            seen.add(data.parent)
            yield dataclasses.replace(sample, path=data.parent, frame=-1), data.parent

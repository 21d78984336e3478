"""Judge a labelled dataset: the first step of fitting, measuring and exporting."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.samples import input_of, inputs_of_videos

if TYPE_CHECKING:
    from deepfake_core.datasets import Dataset, Sample
    from deepfake_core.handle.predictor import Predictor
    from deepfake_core.handle.results import Result
    from deepfake_core.inputs.sources import Source


def evaluate(
    detector: Predictor, dataset: Dataset, *, evidence: bool = False, keep_crops: bool = False, frames: int = 16
) -> Iterator[tuple[Sample, Result]]:
    """Judge every sample of a dataset; of a video that is judged as a whole, yield the first frame.

    See :func:`evaluate_units` for arguments and errors.
    """
    units = evaluate_units(detector, dataset, evidence=evidence, keep_crops=keep_crops, frames=frames)
    return ((unit[0], result) for unit, result in units)


def evaluate_units(
    detector: Predictor, dataset: Dataset, *, evidence: bool = False, keep_crops: bool = False, frames: int = 16
) -> Iterator[tuple[list[Sample], Result]]:
    """Judge a dataset, in the order that is cheapest to read, and yield what was judged at once with its result.

    That is a single sample; a detector of clips judges the frames of one video together.

    Args:
        detector: Detector or ensemble that is evaluated.
        dataset: Labelled samples.
        evidence: Whether to keep the evidence map of each face.
        keep_crops: Whether to keep the crop of each face.
        frames: Number of frames to judge of each video file.

    Raises:
        TrainingDataError: An archive cannot be read.
    """
    waiting: deque[list[Sample]] = deque()

    def inputs() -> Iterator[Source]:
        try:
            if detector.manifest.preprocess.clip is not None:
                for unit, source in inputs_of_videos(dataset):
                    waiting.append(unit)
                    yield source
                return
            for sample, data in dataset.stream():
                waiting.append([sample])
                yield input_of(sample, data)
        except OSError as error:
            raise TrainingDataError(f"{dataset.root}: cannot be read ({error}); restore the file") from error

    for result in detector.stream(inputs(), evidence=evidence, keep_crops=keep_crops, frames=frames):
        yield waiting.popleft(), result

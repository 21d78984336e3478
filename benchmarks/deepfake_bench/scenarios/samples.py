"""The samples that a scenario measures on."""

from __future__ import annotations

from dataclasses import replace

from deepfake_bench.records.dataset import DatasetRef
from deepfake_bench.records.predictions import Predictions
from deepfake_bench.records.report import SEEN, DatasetInfo
from deepfake_bench.scenarios.measures import CALIBRATED
from deepfake_core.data.manifest import manifest_hash
from deepfake_core.data.seen import seen_by
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.labels import counted, labels_read
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.samples import Subset, evenly, is_video, readers
from deepfake_core.handle.predictor import Predictor
from deepfake_core.inputs.streams.opening import is_video as moves


class Chosen(Subset):
    """The samples of a dataset that a scenario measures on.

    Attributes:
        videos: Number of videos that were left out.
    """

    videos = 0


def read_dataset(reference: DatasetRef, limit: int | None = None, *, pictures: bool = False) -> Chosen:
    """Open a dataset, or choose at most ``limit`` files or videos of each source and class, evenly spread.

    Args:
        reference: Dataset as the user named it.
        limit: Most files or videos of each source and class; by default all of them.
        pictures: Whether to leave videos out, and animated images, which are videos by their content.

    Raises:
        TrainingDataError: The dataset holds no samples.
    """
    dataset = reference.open()
    samples = list(dataset)
    if not samples:
        raise TrainingDataError(f"{reference.path}: no samples; expected the layout {reference.layout!r}")
    named = [sample for sample in samples if not (pictures and is_video(sample))]
    chosen = Chosen(dataset, named if limit is None else evenly(named, limit))
    videos = len(samples) - len(named)
    if pictures:
        moving = {sample for sample, read in readers(chosen) if moves(read())}
        chosen = Chosen(dataset, (sample for sample in chosen.samples if sample not in moving))
        videos += len(moving)
    if not chosen.samples:
        raise TrainingDataError(f"{reference.path}: only videos, and this scenario is about pictures; add some")
    chosen.videos = videos
    return chosen


def refusal(detector: Predictor, dataset: Subset, described: DatasetInfo) -> dict[str, str]:
    """Return the reason why measures that depend on the calibration are left out; empty where they are not.

    They are left out where the calibration was fitted on this very set, or on a set that this one is part of.
    """
    known = detector.manifest.calibration.fitted_on_sha256
    if not known:
        return {}
    here = {described.sha256}
    if len(dataset.samples) < len(list(dataset.dataset)):
        here.add(manifest_hash(dataset.dataset))
    if here.isdisjoint(known):
        return {}
    return {
        "refused": f"{', '.join(CALIBRATED)}: the calibration was fitted on this very set, which flatters them; "
        "measure on other files. Ranking measures do not depend on it"
    }


def mark_seen(predictions: Predictions, detector: Predictor, dataset: Dataset) -> tuple[Predictions, dict[str, str]]:
    """Mark the results of samples whose group trained the detector, and say as a condition how many there are.

    Args:
        predictions: Predictions by variant.
        detector: Detector that made them.
        dataset: Samples that it judged.

    Returns:
        The predictions, of which :data:`SEEN` is among the warnings of those results; and the condition.
    """
    if detector.training_groups is None:
        return predictions, {SEEN: "not known: the package of the model does not say what it was trained on"}
    (seen,) = seen_by([detector], dataset)
    if not seen:
        said = "none of the groups" if seen.complete else "none that its package tells, which does not tell all"
        chosen = f"; by {seen.validated:,} of them it was selected and calibrated" if seen.validated else ""
        return predictions, {SEEN: said + chosen}
    others = f", and {seen.validated:,} more by which it was selected and calibrated" if seen.validated else ""
    names = frozenset(seen.names)
    marked = {
        variant: [
            (sample, replace(result, warnings=(*result.warnings, SEEN)) if sample.group in names else result)
            for sample, result in rows
        ]
        for variant, rows in predictions.items()
    }
    some = f"{seen.count:,} of the {seen.total:,} groups, such as {seen.names[0]}"
    return marked, {SEEN: f"{some}{others}; the figures are better than on other files"}


def describe(reference: DatasetRef, dataset: Dataset, samples: int, limit: int | None = None) -> DatasetInfo:
    """Describe the dataset and the number of measured samples; a limit that was set is noted."""
    limited = f"at most {limit} files or videos of each source and class" if limit is not None else ""
    return DatasetInfo(
        name=reference.name,
        layout=reference.layout,
        path=reference.path,
        samples=samples,
        sha256=manifest_hash(dataset),
        note="; ".join(filter(None, (reference.note, limited))),
        labels=labels_read(counted(dataset)),
    )

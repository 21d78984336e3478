"""The samples that a scenario measures on."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_bench.records.dataset import DatasetRef
from deepfake_bench.records.report import OF_VIDEOS, SEEN, DatasetInfo, SourceAccuracy
from deepfake_bench.scenarios.measures import CALIBRATED
from deepfake_core.data.manifest import manifest_hash
from deepfake_core.data.seen import seen_by_source
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


def mark_seen(
    rows: Iterable[SourceAccuracy], detector: Predictor, dataset: Dataset
) -> tuple[list[SourceAccuracy], dict[str, str]]:
    """Note at each source how many of its groups the detector was trained on, and say it as a condition.

    Args:
        rows: Accuracy on each source.
        detector: Detector that was measured.
        dataset: Samples that it was measured on.
    """
    if detector.training_groups is None:
        said = "not known: the package of the model does not say what it was trained on"
        return list(rows), {SEEN: said}
    found = seen_by_source(detector, dataset)
    marked = [
        row.model_copy(update={"seen_groups": seen.count})
        if (seen := found.get(row.source.removesuffix(OF_VIDEOS))) is not None
        else row
        for row in rows
    ]
    parts = [
        f"{seen.count:,} of the {seen.total:,} groups of {source}, such as {seen.names[0]}"
        for source, seen in found.items()
        if seen
    ]
    if parts:
        return marked, {SEEN: f"{'; '.join(parts)}: the figures are better than on other files"}
    complete = all(seen.complete for seen in found.values())
    said = "none of the groups" if complete else "none that its package tells, which does not tell all"
    return marked, {SEEN: said}


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

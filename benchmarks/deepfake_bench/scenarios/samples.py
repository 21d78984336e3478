"""The samples that a scenario measures on."""

from __future__ import annotations

from deepfake_bench.records.dataset import DatasetRef
from deepfake_bench.records.predictions import is_video
from deepfake_bench.records.report import DatasetInfo
from deepfake_bench.scenarios.measures import CALIBRATED
from deepfake_core.data.manifest import manifest_hash
from deepfake_core.datasets import Dataset
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.samples import Subset, evenly
from deepfake_core.handle.predictor import Predictor


def read_dataset(reference: DatasetRef, limit: int | None = None, *, pictures: bool = False) -> Subset:
    """Open a dataset, or choose at most ``limit`` files or videos of each source and class, evenly spread.

    Args:
        reference: Dataset as the user named it.
        limit: Most files or videos of each source and class; by default all of them.
        pictures: Whether to leave videos out.

    Raises:
        TrainingDataError: The dataset holds no samples.
    """
    dataset = reference.open()
    samples = list(dataset)
    if not samples:
        raise TrainingDataError(f"{reference.path}: no samples; expected the layout {reference.layout!r}")
    chosen = [sample for sample in samples if not (pictures and is_video(sample))]
    if not chosen:
        raise TrainingDataError(f"{reference.path}: only videos, and this scenario is about pictures; add some")
    if limit is not None:
        chosen = evenly(chosen, limit)
    return Subset(dataset, chosen)


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
    )

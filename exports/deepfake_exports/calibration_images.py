"""Labelled images and clips on which an export in a low precision is tuned and checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_exports.parity import spread

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

HELD_OUT = 1000
"""Largest number of samples that are taken from the validation split of a run."""


def labelled_crops(loaded: LoadedDetector, data: str, limit: int | None = None) -> dict[str, Any]:
    """Cut out the most prominent face of each labelled image.

    Args:
        loaded: Detector whose preprocessing cuts the faces out.
        data: Address of a dataset, as :func:`~deepfake_core.datasets.opening.open_dataset` accepts it.
        limit: Largest number of files or videos of each source and class.

    Returns:
        Options of an exporter: ``calibration_images``, uint8 [N, H, W, 3] RGB (clips: uint8 [N, T, H, W, 3]), and
        ``labels``, int64 [N] in {0, 1}, where 1 is fake.

    Raises:
        TrainingDataError: The data cannot be opened, or no face is found in any of it.
    """
    from deepfake_core.datasets.opening import open_dataset
    from deepfake_core.errors import TrainingDataError
    from deepfake_core.evaluation.evaluate import evaluate
    from deepfake_core.evaluation.samples import Subset, evenly
    from deepfake_core.progress import track

    dataset = open_dataset(data)
    if limit is not None:
        dataset = Subset(dataset, evenly(list(dataset), limit))
    judged = evaluate(loaded, dataset, keep_crops=True)
    judged = track(judged, "cutting faces")
    found = [(result.faces[0].crop, int(sample.is_fake)) for sample, result in judged if result.faces]
    if not found:
        raise TrainingDataError(f"{data}: no face was found in any of its files")
    crops, labels = zip(*found, strict=True)
    return {"calibration_images": np.stack(crops), "labels": np.array(labels)}


def held_out_crops(loaded: LoadedDetector, run_dir: Path) -> dict[str, Any]:
    """Return the same options from the validation split of a run: at most :data:`HELD_OUT` samples, evenly spread.

    Raises:
        TrainingDataError: The data of the run are no longer there, or are no longer the same.
    """
    from deepfake_core.training.held_out import validation_of_run

    held = validation_of_run(loaded.detector, run_dir)
    rows = spread(np.arange(len(held.fake)), HELD_OUT)
    crops = np.concatenate([held.images[row : row + 1] for row in rows.tolist()])
    return {"calibration_images": crops, "labels": held.fake[rows].astype(np.int64)}

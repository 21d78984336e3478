"""Labelled pictures and clips that exports are tuned and checked on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

HELD_OUT = 1000
"""Most samples of a run's validation split that an export is tuned and checked on."""


def labelled_crops(loaded: LoadedDetector, data: str, limit: int | None = None) -> dict[str, Any]:
    """The most prominent face of each picture with its label, as an exporter's ``calibration_images`` and ``labels``.

    Args:
        loaded: Its preprocessing cuts the faces out.
        data: A dataset, as :func:`~deepfake_core.datasets.opening.open_dataset` takes it.
        limit: Take at most so many files or videos of each source and class.

    Raises:
        TrainingDataError: The data cannot be opened, or no face is found in any of it.
    """
    import numpy as np

    from deepfake_core.datasets.opening import open_dataset
    from deepfake_core.errors import TrainingDataError
    from deepfake_core.evaluation.evaluate import Subset, evenly, judged

    dataset = open_dataset(data)
    if limit is not None:
        dataset = Subset(dataset, evenly(list(dataset), limit))
    results = list(judged(loaded, dataset, keep_crops=True))
    found = [(result.faces[0].crop, int(sample.is_fake)) for sample, result in results if result.faces]
    if not found:
        raise TrainingDataError(f"{data}: no face was found in any of {len(results)} files")
    crops, labels = zip(*found, strict=True)
    return {"calibration_images": np.stack(crops), "labels": np.array(labels)}


def warn_of_few(loaded: LoadedDetector, data: str, options: Mapping[str, Any]) -> None:
    """Say where labelled pictures are so few that a single one can decide whether a low precision keeps the judgement.

    Args:
        loaded: The detector; untrained weights have no AUC that counts.
        data: What the user named.
        options: From :func:`labelled_crops` or :func:`held_out_crops`.
    """
    from deepfake_exports.parity import too_few

    if "labels" in options and loaded.manifest.weights != "untrained" and (few := too_few(options["labels"])):
        typer.echo(f"warning: {loaded.manifest.name}, {data}: {few}", err=True)


def held_out_crops(loaded: LoadedDetector, run_dir: Path) -> dict[str, Any]:
    """The same of the samples that a run held out for validation: at most :data:`HELD_OUT`, evenly spread.

    Raises:
        TrainingDataError: The run's data are no longer there, or are no longer the same.
    """
    import numpy as np

    from deepfake_core.training.data.reopen import validation_split
    from deepfake_exports.parity import spread

    held = validation_split(loaded.detector, run_dir)
    rows = spread(np.arange(len(held.fake)), HELD_OUT)
    crops = np.concatenate([held.images[row : row + 1] for row in rows.tolist()])
    return {"calibration_images": crops, "labels": held.fake[rows].astype(np.int64)}

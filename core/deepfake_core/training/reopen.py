"""What a finished run was selected on, for what is decided after it."""

from __future__ import annotations

from pathlib import Path

import torch

from deepfake_core.datasets.opening import open_dataset
from deepfake_core.detector import Detector
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.material import gather
from deepfake_core.training.resolve import read_run
from deepfake_core.training.runfiles import read_json
from deepfake_core.training.validation import ValidationSet


def validation_split(detector: Detector, run_dir: Path, cache_dir: Path | None = None) -> ValidationSet:
    """The held-out samples of a run; what it had prepared is taken from its cache, or prepared again.

    Args:
        detector: What was trained, with the run's configuration.
        run_dir: The run.
        cache_dir: Where its prepared faces are kept; by default inside ``run_dir``.

    Raises:
        TrainingDataError: The folder holds no run, the run's data cannot be opened by their name, or they give
            other validation samples now.
    """
    stored = read_run(run_dir)
    if stored is None or stored.data is None:
        raise TrainingDataError(f"{run_dir}: holds no run that names its data; name labelled pictures by --data")
    opened = [open_dataset(data) if data else None for data in (stored.data, stored.valid)]
    assert opened[0] is not None
    material = gather(
        detector, opened[0], opened[1], stored.recipe, cache_dir or run_dir / "cache", torch.device("cpu")
    )
    before = read_json(run_dir / "data.json").get("fingerprint")
    if material.fingerprint != before:
        raise TrainingDataError(
            f"{stored.data}: gives other validation samples than the run in {run_dir} had; restore the data, or name "
            "labelled pictures by --data"
        )
    return material.validation

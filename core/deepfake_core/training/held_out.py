"""The held-out samples of a finished run or of a trained model, made again from its data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.training_data import ROLES, TrainingData
from deepfake_core.training.data.validation import ValidationSet
from deepfake_core.training.gather import gather
from deepfake_core.training.recipes.resolve import recipe_of
from deepfake_core.training.runs.files import read_json
from deepfake_core.training.runs.stored import read_run

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


def validation_of_run(detector: Detector, run_dir: Path, cache_dir: Path | None = None) -> ValidationSet:
    """Return the validation samples of a run, from its cache where they are still there.

    Args:
        detector: Detector that was trained, with the configuration of the run.
        run_dir: Folder of the run.
        cache_dir: Folder in which prepared samples are kept; by default the cache inside ``run_dir``.

    Raises:
        TrainingDataError: The folder holds no run, the run's data cannot be opened by their name, or they give
            other validation samples now.
    """
    stored = read_run(run_dir)
    if stored is None or stored.data is None:
        raise TrainingDataError(f"{run_dir}: holds no run that names its data; name labelled pictures by --data")
    dataset = open_dataset(stored.data)
    valid = open_dataset(stored.valid) if stored.valid else None
    training_data = gather(detector, dataset, valid, stored.recipe, cache_dir or run_dir / "cache", torch.device("cpu"))
    before = read_json(run_dir / "data.json").get("fingerprint")
    if training_data.fingerprint != before:
        raise TrainingDataError(
            f"{stored.data}: gives other validation samples than the run in {run_dir} had; restore the data, or name "
            "labelled pictures by --data"
        )
    return training_data.validation


def training_data_of(
    loaded: LoadedDetector,
    data: str,
    cache_dir: Path,
    device: torch.device,
    fallback: TrainRecipe | None = None,
) -> TrainingData:
    """Return the samples that a model was trained and selected on, made again by the recipe in its manifest.

    Args:
        loaded: Model, loaded with the torch backend.
        data: Its training data, as :func:`~deepfake_core.datasets.opening.open_dataset` takes them.
        cache_dir: Folder in which prepared samples are kept.
        device: Device on which the autoencoders of the recipe are trained.
        fallback: Recipe to use where the manifest states none.

    Raises:
        TrainingDataError: The manifest states no recipe, or the data give other pictures than it names.
    """
    recipe = recipe_of(loaded.manifest) or fallback
    if recipe is None:
        name = loaded.manifest.name
        raise TrainingDataError(f"{name}: its manifest does not say how it was trained; name the folder of its run")
    training_data = gather(loaded.detector, open_dataset(data), None, recipe, cache_dir, device)
    stated = {(source.name, source.role): source.count for source in loaded.manifest.provenance}
    found = {(name, ROLES[fake]): count for (name, fake), count in training_data.counts.items()}
    if stated and stated != found:
        raise TrainingDataError(
            f"{data}: these are not the pictures that {loaded.manifest.name} was trained on: "
            f"{_differences(stated, found)}"
        )
    return training_data


def _differences(stated: Mapping[tuple[str, str], int], found: Mapping[tuple[str, str], int]) -> str:
    """Describe the sources in whose counts ``found`` differs from ``stated``."""
    return "; ".join(
        f"{' '.join(key)}: {found.get(key, 0)} for {stated.get(key, 0)}"
        for key in sorted(stated.keys() | found.keys())
        if stated.get(key) != found.get(key)
    )

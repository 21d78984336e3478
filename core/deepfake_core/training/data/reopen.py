"""What a finished run or a trained model was selected on, for what is decided and shown after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.training_data import ROLES, Material, gather
from deepfake_core.training.data.validation import ValidationSet
from deepfake_core.training.recipes.resolve import read_run
from deepfake_core.training.runs.runfiles import read_json
from deepfake_registry.manifest import ModelManifest

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


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


def recipe_of(manifest: ModelManifest) -> TrainRecipe | None:
    """How a model was trained; ``None`` where its manifest does not say.

    Settings that recipes no longer have are left out: a model may be older than the code.
    """
    settings = {key: value for key, value in manifest.training.items() if key in TrainRecipe.model_fields}
    return TrainRecipe.model_validate(settings) if settings else None


def material_of(
    loaded: LoadedDetector,
    data: str,
    cache_dir: Path,
    device: torch.device,
    fallback: TrainRecipe | None = None,
) -> Material:
    """What a model was trained and selected on, made again from its data as its manifest says.

    Args:
        loaded: The model, in torch.
        data: Its training data, as :func:`~deepfake_core.datasets.opening.open_dataset` takes them.
        cache_dir: Where what is prepared is kept.
        device: Where autoencoders of the recipe train.
        fallback: The recipe of a model whose manifest has none.

    Raises:
        TrainingDataError: The manifest has no recipe, or the data give other pictures than it names.
    """
    recipe = recipe_of(loaded.manifest) or fallback
    if recipe is None:
        name = loaded.manifest.name
        raise TrainingDataError(f"{name}: its manifest does not say how it was trained; name the folder of its run")
    material = gather(loaded.detector, open_dataset(data), None, recipe, cache_dir, device)
    stated = {(source.name, source.role): source.count for source in loaded.manifest.provenance}
    found = {(name, ROLES[fake]): count for (name, fake), count in material.counts.items()}
    if stated and stated != found:
        raise TrainingDataError(
            f"{data}: these are not the pictures that {loaded.manifest.name} was trained on: {_apart(stated, found)}"
        )
    return material


def _apart(stated: Mapping[tuple[str, str], int], found: Mapping[tuple[str, str], int]) -> str:
    """By which sources two counts differ."""
    return "; ".join(
        f"{' '.join(key)}: {found.get(key, 0)} for {stated.get(key, 0)}"
        for key in sorted(stated.keys() | found.keys())
        if stated.get(key) != found.get(key)
    )

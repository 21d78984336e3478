"""Training of a loaded detector; ``LoadedDetector.train`` calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.datasets import Dataset
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.loading.load import load
from deepfake_core.training.recipes.resolve import config_of, resolve_recipe
from deepfake_core.training.run import train


def train_detector(
    detector: LoadedDetector,
    data: str | Path | Dataset,
    recipe: str | Path | TrainRecipe = "default",
    run_dir: str | Path = "runs/latest",
    **options: Any,
) -> LoadedDetector:
    """Train the architecture of a loaded detector.

    Training starts from the initial weights of the recipe (the backbone's public weights, or random ones), *not* from
    the weights that are loaded. To go on from those, name the detector twice: ``detector.train(data, start=detector)``.

    Args:
        detector: Detector whose architecture and hyper-parameters are trained. It is not changed.
        data: Training data: a dataset, or how to open one (``"NAME:PATH?option=value"``, or a path whose layout is
            recognised).
        recipe: Recipe, name of a recipe, or YAML file that holds one. A named recipe may bring hyper-parameters of its
            own (``Detector.configs``), which apply where the detector has the default ones.
        run_dir: Folder of the run.
        **options: Further arguments of :func:`deepfake_core.training.run.train`: ``valid``, ``test``, ``device``,
            ``cache_dir``, ``track``, ``resume``, ``download``, ``terms``, ``on_validation``, ``stop_at`` and
            ``minutes``, which end it on time, and ``start``, a loaded detector whose weights the training starts from,
            with ``allow_seen``.

    Returns:
        The trained detector, loaded from the package in ``run_dir/model``.

    Raises:
        MissingExtra: A package that training needs is not installed.
        TrainingDataError: The data are missing or ambiguous, or their splits overlap.
        DeepfakeError: There is no such recipe, the folder holds another run, or ``start`` is another network.
    """
    trained = detector.detector
    config = config_of(trained, recipe)
    if config != trained.config:
        trained = type(trained)(config)
    settings = resolve_recipe(trained, recipe)
    package = train(detector.manifest.architecture, trained, data, settings, Path(run_dir), **options)
    return load(package.folder)

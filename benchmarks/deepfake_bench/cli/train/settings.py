"""Settings of a training run as the command line gives them, for ``dfbench train`` and ``dfbench tune``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

if TYPE_CHECKING:
    from deepfake_core.contract.detector import DetectorConfig
    from deepfake_core.contract.recipe import TrainRecipe
    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.training.runs.stored import StoredRun

DEFAULT_RECIPE = "default"


def to_train(detector: str, track: Sequence[str] | None, *checks: Callable[[], object]) -> LoadedDetector:
    """Return an installed detector, untrained.

    Args:
        detector: Name of the detector.
        track: Trackers, as users type them.
        *checks: Further functions that raise ``MissingExtra``, for one message where torch is missing.

    Raises:
        MissingExtra: torch is not installed; the message names all that the detector's training needs.
    """
    from deepfake_core.loading.load import load
    from deepfake_core.training.checks import check_torch

    check_torch(detector, track or (), *checks)
    return cast("LoadedDetector", load(detector, untrained=True))  # only a folder may be an ensemble


def stored_run(detector: str, run_dir: Path | None) -> StoredRun | None:
    """Read the run that ``--resume`` continues; ``None`` where it was cut off before it had written anything.

    Raises:
        DeepfakeError: No folder is named, or its run is of another detector.
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.runs.stored import read_run

    if run_dir is None:
        raise DeepfakeError("--resume needs the folder of the run that it continues: --run-dir RUN")
    stored = read_run(run_dir)
    if stored is not None and stored.detector != detector:
        raise DeepfakeError(
            f"{run_dir}: holds a run of {stored.detector!r}; resume it with dfbench train {stored.detector}"
        )
    return stored


def configured(
    loaded: LoadedDetector,
    recipe: str | None,
    changes: Sequence[str],
    *,
    smoke: bool = False,
    stored: StoredRun | None = None,
) -> tuple[LoadedDetector, TrainRecipe]:
    """Return the detector with the chosen hyper-parameters, and the chosen recipe.

    Args:
        loaded: Untrained detector, which has its default hyper-parameters.
        recipe: Name or file of a recipe; by default that of ``stored``, or the one named ``default``.
        changes: Texts ``KEY=VALUE``; a key that begins with ``config.`` is a hyper-parameter of the detector.
        smoke: Whether to reduce the recipe to a few steps.
        stored: Run to continue, whose settings must stay what they are.

    Raises:
        DeepfakeError: There is no such recipe or setting, a value is invalid, or the stored run has other settings.
    """
    from deepfake_core.contract.recipe import OF_MACHINE
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.recipes.changes import changed, split_changes
    from deepfake_core.training.recipes.resolve import config_of, resolve_recipe
    from deepfake_core.training.recipes.settings import differences, validated

    of_recipe, of_detector = split_changes(changes)
    detector = loaded.detector
    base = stored.recipe if stored and recipe is None else recipe or DEFAULT_RECIPE
    settings = resolve_recipe(detector, base, of_recipe, smoke)
    if stored is not None:
        before = validated(detector.Config, stored.config, "config of the run")
    else:
        before = config_of(detector, base)
    config = changed(before, of_detector, "--set config")
    if stored is not None:
        # The settings that belong to the machine may be others when a run continues.
        began = stored.recipe.model_copy(update={name: getattr(settings, name) for name in OF_MACHINE})
        other = differences(began, settings) + [f"config.{line}" for line in differences(before, config)]
        if other:
            raise DeepfakeError(
                f"a run continues with the settings with which it began, and these differ: {'; '.join(other)}; only "
                f"settings of the machine may ({', '.join(OF_MACHINE)}); leave the others out, or start a new run in "
                "another --run-dir"
            )
    return with_config(loaded, config), settings


def with_config(loaded: LoadedDetector, config: DetectorConfig) -> LoadedDetector:
    """Return the same architecture, untrained, with other hyper-parameters."""
    from deepfake_core.loading.load import load

    if config == loaded.detector.config:
        return loaded
    return load(loaded.manifest.architecture, untrained=True, config=config.model_dump(mode="json"))


def announce(loaded: LoadedDetector, settings: TrainRecipe, folder: Path) -> None:
    """Print all settings to standard error, and show the log messages of the training; in the first process only."""
    from deepfake_core.progress import not_beside_a_bar
    from deepfake_core.training.recipes.yaml_files import to_yaml

    if not is_first_process():
        return
    logging.basicConfig(format="%(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(not_beside_a_bar)
    logging.getLogger("deepfake").setLevel(logging.INFO)
    config = loaded.detector.config
    if type(config).model_fields:
        typer.echo(f"# detector {loaded.manifest.architecture}\n{to_yaml(config)}", err=True)
    typer.echo(f"# recipe; run in {folder}\n{to_yaml(settings)}", err=True)


def is_first_process() -> bool:
    """Whether this process is alone, or the first of those that a launcher such as ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"

"""The recipe and the hyper-parameters that a user means: by name, from a YAML file, and with changes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_core.contract.recipe import RENAMED_POLICIES, TrainRecipe
from deepfake_core.discovery.artifacts import read_package
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.changes import changed
from deepfake_core.training.recipes.presets import PRESETS
from deepfake_core.training.recipes.settings import validated
from deepfake_core.training.recipes.yaml_files import read_settings
from deepfake_registry.manifest import ModelManifest

if TYPE_CHECKING:
    from deepfake_core.contract.detector import Detector, DetectorConfig


def resolve_recipe(
    detector: Detector, recipe: str | Path | TrainRecipe, changes: Sequence[str] = (), smoke: bool = False
) -> TrainRecipe:
    """Return the recipe that a user means.

    Args:
        detector: Detector to train. Its own recipes take precedence over
            :data:`~deepfake_core.training.recipes.presets.PRESETS` of the same name.
        recipe: A recipe, the name of one, or a YAML file, which may start from a named recipe by ``base: NAME``; or the
            folder of a packaged model or of a run, whose recipe is meant.
        changes: Changes ``key=value`` that are applied last, as :func:`~deepfake_core.training.recipes.changes.changed`
            takes them.
        smoke: Whether to cut the recipe to :meth:`~deepfake_core.contract.recipe.TrainRecipe.smoke` before the changes.

    Raises:
        DeepfakeError: There is no such recipe, file or setting, or a value does not fit.
    """
    found = recipe if isinstance(recipe, TrainRecipe) else _read(detector, recipe)
    return changed(found.smoke() if smoke else found, changes)


def recipe_of(manifest: ModelManifest) -> TrainRecipe | None:
    """Return the recipe that a model was trained by, or ``None`` where its manifest states none.

    A model may be older than the code: settings that recipes no longer have are left out, and a policy that was
    renamed since has its new name.
    """
    settings = {key: value for key, value in manifest.training.items() if key in TrainRecipe.model_fields}
    if settings.get("augment") in RENAMED_POLICIES:
        settings["augment"] = RENAMED_POLICIES[settings["augment"]]
    return TrainRecipe.model_validate(settings) if settings else None


def recipes_of(detector: Detector) -> dict[str, TrainRecipe]:
    """Return every recipe that a detector can be trained by; the detector's own ones come first."""
    return {**detector.recipes, **{name: recipe for name, recipe in PRESETS.items() if name not in detector.recipes}}


def config_of(detector: Detector, recipe: object) -> DetectorConfig:
    """Return the hyper-parameters to train with by a recipe.

    A named recipe may bring hyper-parameters (``Detector.configs``), and that of a packaged model brings those of the
    model. They apply only to a detector that has the default hyper-parameters; any other detector keeps its own.

    Raises:
        DeepfakeError: The packaged model has the hyper-parameters of another detector.
    """
    if detector.config != detector.Config():
        return detector.config
    own: Any = detector.configs.get(recipe, {}) if isinstance(recipe, str) else {}
    if not own and isinstance(recipe, str | Path) and (folder := _model_folder(detector, recipe)):
        return validated(detector.Config, read_package(folder).manifest.config, f"{folder}: hyper-parameters")
    return detector.Config.model_validate(own)


def _model_folder(detector: Detector, name: str | Path) -> Path | None:
    """Return the folder of a packaged model or of a run that is meant by ``name``; ``None`` where a recipe is."""
    path = Path(name)
    return path if name not in recipes_of(detector) and path.is_dir() else None


def _read(detector: Detector, name: str | Path) -> TrainRecipe:
    known = recipes_of(detector)
    if isinstance(name, str) and name in known:
        return known[name]
    if folder := _model_folder(detector, name):
        stated = recipe_of(read_package(folder).manifest)
        if stated is None:
            raise DeepfakeError(
                f"{folder}: its manifest does not say how it was trained; name a recipe or a .yaml file"
            )
        return stated
    path = Path(name)
    if isinstance(name, str) and path.suffix not in (".yaml", ".yml"):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DeepfakeError(
            f"unknown recipe {name!r}; {hint}There are: {', '.join(known)}; a .yaml file, or the folder of a model"
        )
    settings = read_settings(path)
    base = settings.pop("base", None)
    if base is not None and not (isinstance(base, str) and base in known):
        raise DeepfakeError(f"{path}: base: unknown recipe {base!r}; there are: {', '.join(known)}")
    return validated(TrainRecipe, _merged(known[base].model_dump(), settings) if base else settings, str(path))


def _merged(base: Any, over: Any) -> Any:
    """Return ``over`` on top of ``base``: mappings are merged, everything else (lists included) is replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}

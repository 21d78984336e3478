"""The recipe and the hyper-parameters that a user means: by name, from a YAML file, and with changes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.changes import changed
from deepfake_core.training.recipes.presets import PRESETS
from deepfake_core.training.recipes.settings import validated
from deepfake_core.training.recipes.yaml_files import read_settings

if TYPE_CHECKING:
    from deepfake_core.contract.detector import Detector, DetectorConfig


def resolve_recipe(
    detector: Detector, recipe: str | Path | TrainRecipe, changes: Sequence[str] = (), smoke: bool = False
) -> TrainRecipe:
    """Return the recipe that a user means.

    Args:
        detector: Detector to train. Its own recipes take precedence over
            :data:`~deepfake_core.training.recipes.presets.PRESETS` of the same name.
        recipe: A recipe, the name of one, or a YAML file, which may start from a named recipe by ``base: NAME``.
        changes: Changes ``key=value`` that are applied last, as :func:`~deepfake_core.training.recipes.changes.changed`
            takes them.
        smoke: Whether to cut the recipe to :meth:`~deepfake_core.contract.recipe.TrainRecipe.smoke` before the changes.

    Raises:
        DeepfakeError: There is no such recipe, file or setting, or a value does not fit.
    """
    found = recipe if isinstance(recipe, TrainRecipe) else _read(detector, recipe)
    return changed(found.smoke() if smoke else found, changes)


def recipes_of(detector: Detector) -> dict[str, TrainRecipe]:
    """Return every recipe that a detector can be trained by; the detector's own ones come first."""
    return {**detector.recipes, **{name: recipe for name, recipe in PRESETS.items() if name not in detector.recipes}}


def config_of(detector: Detector, recipe: object) -> DetectorConfig:
    """Return the hyper-parameters to train with by a recipe.

    A named recipe may bring hyper-parameters (``Detector.configs``). They apply only to a detector that has the default
    hyper-parameters; any other detector keeps its own.
    """
    own = detector.configs.get(recipe, {}) if isinstance(recipe, str) else {}
    return detector.Config.model_validate(own) if detector.config == detector.Config() else detector.config


def _read(detector: Detector, name: str | Path) -> TrainRecipe:
    known = recipes_of(detector)
    if isinstance(name, str) and name in known:
        return known[name]
    path = Path(name)
    if isinstance(name, str) and path.suffix not in (".yaml", ".yml"):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DeepfakeError(f"unknown recipe {name!r}; {hint}There are: {', '.join(known)}; or a .yaml file")
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

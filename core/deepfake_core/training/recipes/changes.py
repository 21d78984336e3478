"""Changes of single settings, as ``--set KEY=VALUE`` takes them.

Keys are dotted and reach into lists by number, as in ``phases.1.lr.backbone=1e-4``; values are YAML.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from deepfake_core.contract.recipe import LENGTHS
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.settings import Model, dotted, unknown_setting, validated
from deepfake_core.training.recipes.yaml_files import parse_yaml

CONFIG = "config."
"""Prefix of the changes that belong to the detector's hyper-parameters."""


def split_changes(changes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the changes of the recipe, and those of the detector's hyper-parameters without their :data:`CONFIG`."""
    recipe = [change for change in changes if not change.startswith(CONFIG)]
    return recipe, [change.removeprefix(CONFIG) for change in changes if change.startswith(CONFIG)]


def changed(model: Model, changes: Sequence[str], origin: str = "--set") -> Model:
    """Return a copy of a model with ``key=value`` changes.

    Args:
        model: A recipe, or the hyper-parameters of a detector.
        changes: Changes in their order.
        origin: Where the changes come from, for messages.

    Raises:
        DeepfakeError: The model has no such setting, or a value does not fit.
    """
    settings = model.model_dump(mode="json", by_alias=False)
    for change in changes:
        _assign(settings, _renamed(type(model), change), origin)
    return validated(type(model), settings, origin)


def _renamed(kind: type[BaseModel], change: str) -> str:
    """Return a change under the present name of its setting; the name in stored files is accepted with a warning."""
    key, equals, value = change.partition("=")
    for name, field in kind.model_fields.items():
        if key == field.alias:
            warnings.warn(f"the setting {key} is called {name} now; write {name}={value}", FutureWarning, stacklevel=3)
            return f"{name}{equals}{value}"
    return change


def _assign(settings: dict[str, Any], change: str, origin: str) -> None:
    key, equals, text = change.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not last:
        raise DeepfakeError(f"{origin} {change}: is not KEY=VALUE; settings: {', '.join(settings)}")
    value = parse_yaml(text, f"{origin} {change}")
    place: Any = settings
    for number, parent in enumerate(parents):
        inside = _inside(place, parent, parents[:number], origin)
        if place[inside] is None:
            place[inside] = {}  # settings that are left out by default, such as those of distil
        place = place[inside]
    if not isinstance(place, dict):
        place[_inside(place, last, parents, origin)] = value
        return
    place[last] = value  # the validation of the model refuses a setting that does not exist
    if len(parents) == 2 and parents[0] == "phases" and last in LENGTHS and value is not None:
        place |= {name: None for name in LENGTHS if name != last}  # a phase has one length, which is the last one given


def _inside(place: Any, name: str, above: Sequence[str], origin: str) -> str | int:
    """Return the key or the index of a mapping or list that a name means.

    Raises:
        DeepfakeError: The mapping or list has no such entry, or ``place`` is neither.
    """
    if isinstance(place, list):
        if name.isascii() and name.isdigit() and int(name) < len(place):
            return int(name)
        numbers = ", ".join(map(str, range(len(place)))) or "none"
        raise DeepfakeError(f"{origin}: no setting {dotted([*above, name])}; numbers in {dotted(above)}: {numbers}")
    if not isinstance(place, dict):
        raise DeepfakeError(f"{origin}: no setting {dotted([*above, name])}; {dotted(above)} is one value, {place}")
    if name not in place:
        raise unknown_setting(origin, [*above, name], place)
    return name

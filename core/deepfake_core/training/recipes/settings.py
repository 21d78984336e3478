"""Plain settings and the models that are built from them: validation, comparison, and errors that name the setting."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from deepfake_core.errors import DeepfakeError

Model = TypeVar("Model", bound=BaseModel)


def validated(kind: type[Model], settings: Mapping[str, Any], origin: str) -> Model:
    """Build a model from plain settings.

    Args:
        kind: Class of the model.
        settings: Settings in plain values.
        origin: Where the settings come from, for messages.

    Raises:
        DeepfakeError: A setting is unknown or its value does not fit; the message names it and the alternatives.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        # Where a type has alternatives, the error that lies deepest belongs to the alternative that was meant.
        place, first = max(((_existing(settings, one["loc"]), one) for one in error.errors()), key=lambda e: len(e[0]))
        if first["type"] == "extra_forbidden":
            raise unknown_setting(origin, place, _fields(kind, place[:-1])) from error
        if first["type"] == "missing":
            place = [*place, first["loc"][-1]]
        reason = first["msg"].removeprefix("Value error, ")
        raise DeepfakeError(f"{origin}: {dotted(place)}{': ' if place else ''}{reason}") from error


def differences(old: BaseModel, new: BaseModel) -> list[str]:
    """Return the settings in which two models differ, each as ``optimizer.name: adamw → sgd``."""
    before, after = (flat(model.model_dump(mode="json")) for model in (old, new))
    keys = [*before, *(key for key in after if key not in before)]
    return [
        f"{key}: {before.get(key, 'absent')} → {after.get(key, 'absent')}"
        for key in keys
        if (key in before, before.get(key)) != (key in after, after.get(key))
    ]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names: ``{"recipe": {"seed": 1}}`` becomes ``{"recipe.seed": 1}``."""
    if isinstance(value, Mapping) and value:
        inner = list(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        inner = list(enumerate(value))
    else:
        return {name: value}
    parts = (flat(part, f"{name}.{key}" if name else str(key)) for key, part in inner)
    return {key: leaf for part in parts for key, leaf in part.items()}


def unknown_setting(origin: str, place: Sequence[str | int], known: Iterable[str]) -> DeepfakeError:
    """Return the error for a setting that does not exist, with the closest names or all of them.

    Args:
        origin: Where the setting comes from.
        place: Path of the setting within the settings.
        known: Names that exist in its place.
    """
    names = list(known)
    close = difflib.get_close_matches(str(place[-1]), names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names) or 'none'}"
    return DeepfakeError(f"{origin}: unknown setting {dotted(place)}; {hint}")


def dotted(place: Sequence[str | int]) -> str:
    """Return the path of a setting as ``phases.0.lr``."""
    return ".".join(map(str, place))


def _fields(kind: type[BaseModel], place: Sequence[str | int]) -> Sequence[str]:
    """Return the names of the settings at a place within a model."""
    for part in place:
        if isinstance(part, str):
            inner = _model_in(kind.model_fields[part].annotation) if part in kind.model_fields else None
            if inner is None:
                return ()
            kind = inner
    return list(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _existing(settings: Any, place: Sequence[str | int]) -> list[str | int]:
    """Return pydantic's location of an error without its names for the alternatives of a type.

    The settings have no such keys, so a reader would not find them.
    """
    kept: list[str | int] = []
    for part in place:
        keys = range(len(settings)) if isinstance(settings, list | tuple) else settings
        if isinstance(keys, Mapping | range) and part in keys:
            settings = settings[part]
            kept.append(part)
    return kept or list(place[:1])

"""From what a user writes to a recipe: names, YAML files and ``key=value`` changes.

YAML is read as version 1.2 means it, where ``1e-4`` is a number and ``no`` a word; PyYAML's own rules are those of
version 1.1, by which a learning rate of ``1e-4`` would be text.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.training.recipes.presets import PRESETS
from deepfake_core.training.runs.runfiles import flat, read_config

try:
    import yaml
except ModuleNotFoundError as error:
    raise MissingExtra("reading recipes", "deepfake-core[torch]") from error

if TYPE_CHECKING:
    from deepfake_core.contract.detector import Detector, DetectorConfig

Model = TypeVar("Model", bound=BaseModel)

CONFIG = "config."
"""Prefix of the changes that belong to the detector's hyper-parameters."""

_WORDS = {"null": "~ null Null NULL", "bool": "true True TRUE false False FALSE"}
_SCALARS = {
    **{f"tag:yaml.org,2002:{kind}": "|".join(words.split()) for kind, words in _WORDS.items()},
    "tag:yaml.org,2002:int": r"[-+]?[0-9]+",
    "tag:yaml.org,2002:float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
}


class _Dumper(yaml.SafeDumper):
    """Quotes the text that :class:`_Loader` would read as something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}


class _Loader(yaml.SafeLoader):
    """Null, truth values, decimal numbers, text, lists and mappings without repeated keys; nothing else."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated!r} stands here twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def decimal(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))

    def number(self, node: yaml.ScalarNode) -> float:
        return float(self.construct_scalar(node))


for _class in (_Dumper, _Loader):
    for _tag, _pattern in _SCALARS.items():
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), None)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.decimal)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)


def parse_yaml(text: str, origin: str) -> Any:
    """The value that a YAML text stands for.

    Args:
        text: One document.
        origin: What to call it in messages.

    Raises:
        DeepfakeError: It is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader that knows even less
    # A tag that does not fit its value, as in "!!int x", fails in PyYAML with whatever its conversion raises.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise DeepfakeError(f"{origin}{place}: cannot be read as YAML: {reason}") from error


def to_yaml(recipe: BaseModel) -> str:
    """Every setting of a recipe, defaults included, as YAML that :func:`resolve_recipe` reads back to an equal one."""
    settings = recipe.model_dump(mode="json")
    text: str = yaml.dump(settings, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)
    return text


def resolve_recipe(
    detector: Detector, recipe: str | Path | TrainRecipe, changes: Sequence[str] = (), smoke: bool = False
) -> TrainRecipe:
    """The recipe that a user means.

    Args:
        detector: Its own recipes come before :data:`~deepfake_core.training.recipes.presets.PRESETS` of the same name.
        recipe: A name; a YAML file, which may start from a named recipe by ``base: NAME`` at its top; or a recipe.
        changes: ``key=value``, applied last. Keys are dotted and reach into lists by number, as in
            ``phases.1.lr.backbone=1e-4``; values are YAML.
        smoke: Cut the recipe to :meth:`~deepfake_core.contract.recipe.TrainRecipe.smoke` before the changes.

    Raises:
        DeepfakeError: There is no such recipe, file or setting, or a value does not fit.
    """
    found = recipe if isinstance(recipe, TrainRecipe) else _read(detector, recipe)
    return changed(found.smoke() if smoke else found, changes)


def recipes_of(detector: Detector) -> dict[str, TrainRecipe]:
    """Every recipe that a detector can be trained by, its own ones first."""
    return {**detector.recipes, **{name: recipe for name, recipe in PRESETS.items() if name not in detector.recipes}}


def config_of(detector: Detector, recipe: object) -> DetectorConfig:
    """The hyper-parameters to train with by a recipe: those that go with its name, where there are such.

    A detector that was made with other hyper-parameters than the defaults keeps them.
    """
    own = detector.configs.get(recipe, {}) if isinstance(recipe, str) else {}
    return detector.Config.model_validate(own) if detector.config == detector.Config() else detector.config


def split_changes(changes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Changes of the recipe, and those of the detector's hyper-parameters (``config.X=…``) without their prefix."""
    recipe = [change for change in changes if not change.startswith(CONFIG)]
    return recipe, [change.removeprefix(CONFIG) for change in changes if change.startswith(CONFIG)]


def changed(model: Model, changes: Sequence[str], origin: str = "--set") -> Model:
    """A frozen model with ``key=value`` changes.

    Raises:
        DeepfakeError: A key is none of the model's, or a value does not fit.
    """
    settings = model.model_dump(mode="json", by_alias=False)
    for change in changes:
        _assign(settings, _renamed(type(model), change), origin)
    return validated(type(model), settings, origin)


def _renamed(kind: type[BaseModel], change: str) -> str:
    """A change under the present name of its setting, with a warning where it has the name of stored files."""
    key, equals, value = change.partition("=")
    for name, field in kind.model_fields.items():
        if key == field.alias:
            warnings.warn(f"the setting {key} is called {name} now; write {name}={value}", FutureWarning, stacklevel=3)
            return f"{name}{equals}{value}"
    return change


def validated(kind: type[Model], settings: Mapping[str, Any], origin: str) -> Model:
    """Build a model from plain settings.

    Raises:
        DeepfakeError: A setting is unknown or does not fit; the message names it and what is possible.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        # Of the alternatives of a type, the one that got furthest is the one that was meant.
        place, first = max(((_existing(settings, one["loc"]), one) for one in error.errors()), key=lambda e: len(e[0]))
        if first["type"] == "extra_forbidden":
            raise _unknown(origin, place, _fields(kind, place[:-1])) from error
        reason = first["msg"].removeprefix("Value error, ")
        raise DeepfakeError(f"{origin}: {_dotted(place)}{': ' if place else ''}{reason}") from error


@dataclass(frozen=True)
class StoredRun:
    """What a run directory's ``config.yaml`` says about how the run was started.

    Attributes:
        detector: Name of the detector.
        config: Its hyper-parameters.
        recipe: The full recipe.
        data: Training data as the user named them; also the next two, where they were given.
        valid: Validation data.
        test: Test data.
    """

    detector: str
    config: Mapping[str, Any]
    recipe: TrainRecipe
    data: str | None = None
    valid: str | None = None
    test: str | None = None


def read_run(run_dir: Path) -> StoredRun | None:
    """How the run in a folder was started; ``None`` where no run has been.

    Raises:
        DeepfakeError: Its ``config.yaml`` is damaged, or was written by another version.
    """
    path = run_dir / "config.yaml"
    if not path.exists():
        return None
    stored = read_config(run_dir)
    if not (isinstance(stored.get("recipe"), dict) and isinstance(stored.get("detector"), str)):
        raise DeepfakeError(f"{path}: names no detector and recipe; start a new run in another folder")
    return StoredRun(
        detector=stored["detector"],
        config=stored.get("config") or {},
        recipe=validated(TrainRecipe, stored["recipe"], str(path)),
        **{name: stored[name] for name in ("data", "valid", "test") if stored.get(name)},
    )


def differences(old: BaseModel, new: BaseModel) -> list[str]:
    """Settings in which two recipes differ, as ``optimizer.name: adamw → sgd``."""
    before, after = (flat(model.model_dump(mode="json")) for model in (old, new))
    keys = [*before, *(key for key in after if key not in before)]
    return [
        f"{key}: {before.get(key, 'absent')} → {after.get(key, 'absent')}"
        for key in keys
        if (key in before, before.get(key)) != (key in after, after.get(key))
    ]


def _read(detector: Detector, name: str | Path) -> TrainRecipe:
    known = recipes_of(detector)
    if isinstance(name, str) and name in known:
        return known[name]
    path = Path(name)
    if isinstance(name, str) and path.suffix not in (".yaml", ".yml"):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DeepfakeError(f"unknown recipe {name!r}; {hint}There are: {', '.join(known)}; or a .yaml file")
    settings = _mapping(path)
    base = settings.pop("base", None)
    if base is not None and not (isinstance(base, str) and base in known):
        raise DeepfakeError(f"{path}: base: unknown recipe {base!r}; there are: {', '.join(known)}")
    return validated(TrainRecipe, _merged(known[base].model_dump(), settings) if base else settings, str(path))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise DeepfakeError(f"{path}: cannot be read: {reason}") from error
    settings = parse_yaml(text, str(path))
    if not isinstance(settings, dict):
        raise DeepfakeError(f"{path}: holds no settings; write KEY: VALUE lines, such as batch_size: 32")
    return settings


def _merged(base: Any, over: Any) -> Any:
    """Mappings are merged; anything else, lists included, is replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


def _assign(settings: dict[str, Any], change: str, origin: str) -> None:
    key, equals, text = change.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not last:
        raise DeepfakeError(f"{origin} {change}: is not KEY=VALUE; settings: {', '.join(settings)}")
    value = parse_yaml(text, f"{origin} {change}")
    place: Any = settings
    for number, parent in enumerate(parents):
        place = place[_inside(place, parent, parents[:number], origin)]
    if not isinstance(place, dict):
        place[_inside(place, last, parents, origin)] = value
        return
    place[last] = value  # whether the setting exists is the model's to say
    if len(parents) == 2 and parents[0] == "phases" and last in ("epochs", "steps") and value is not None:
        place["steps" if last == "epochs" else "epochs"] = None  # a phase has one length: the last that was asked for


def _inside(place: Any, name: str, above: Sequence[str], origin: str) -> str | int:
    """The key or index that a name stands for in a mapping or list.

    Raises:
        DeepfakeError: There is none.
    """
    if isinstance(place, list):
        if name.isascii() and name.isdigit() and int(name) < len(place):
            return int(name)
        numbers = ", ".join(map(str, range(len(place)))) or "none"
        raise DeepfakeError(f"{origin}: no setting {_dotted([*above, name])}; numbers in {_dotted(above)}: {numbers}")
    if not isinstance(place, dict):
        raise DeepfakeError(f"{origin}: no setting {_dotted([*above, name])}; {_dotted(above)} is one value, {place}")
    if name not in place:
        raise _unknown(origin, [*above, name], place)
    return name


def _unknown(origin: str, place: Sequence[str | int], known: Iterable[str]) -> DeepfakeError:
    names = list(known)
    close = difflib.get_close_matches(str(place[-1]), names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names) or 'none'}"
    return DeepfakeError(f"{origin}: unknown setting {_dotted(place)}; {hint}")


def _fields(kind: type[BaseModel], place: Sequence[str | int]) -> Sequence[str]:
    """Names of the settings of the model that stands at a place within another."""
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
    """Pydantic's location of an error without its names for the alternatives of a type, which no settings have."""
    kept: list[str | int] = []
    for part in place:
        keys = range(len(settings)) if isinstance(settings, list | tuple) else settings
        if isinstance(keys, Mapping | range) and part in keys:
            settings = settings[part]
            kept.append(part)
    return kept or list(place[:1])


def _dotted(place: Sequence[str | int]) -> str:
    return ".".join(map(str, place))

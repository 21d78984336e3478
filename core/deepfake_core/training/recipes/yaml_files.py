"""Reading and writing YAML: the only place that does either.

What people write is read by the rules of YAML 1.2, where ``1e-4`` is a number and ``no`` is a word. PyYAML's own rules
are those of YAML 1.1, by which a learning rate of ``1e-4`` would be text. What is written here means the same by both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from deepfake_core.errors import DeepfakeError, MissingExtra

try:
    import yaml
except ModuleNotFoundError as error:
    raise MissingExtra("reading and writing recipes and the settings of runs", "deepfake-core[torch]") from error

_WORDS = {"null": "~ null Null NULL", "bool": "true True TRUE false False FALSE"}
_SCALARS = {
    **{f"tag:yaml.org,2002:{kind}": "|".join(words.split()) for kind, words in _WORDS.items()},
    "tag:yaml.org,2002:int": r"[-+]?[0-9]+",
    "tag:yaml.org,2002:float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
}


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes text which either version of YAML would read as something else."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # PyYAML takes the character NEL for an end of line, which only double quotes escape.
        return self.represent_scalar("tag:yaml.org,2002:str", text, '"' if "\x85" in text else None)


class _Loader(yaml.SafeLoader):
    """Loader of null, truth values, decimal numbers, text, lists and mappings; a repeated key is an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))

    def construct_number(self, node: yaml.ScalarNode) -> float:
        return float(self.construct_scalar(node))


for _class in (_Dumper, _Loader):
    for _tag, _pattern in _SCALARS.items():
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), None)
_Dumper.add_representer(str, _Dumper.represent_text)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)


def to_yaml(settings: BaseModel | Mapping[str, Any]) -> str:
    """Return settings as YAML, in their order and with all defaults.

    :func:`parse_yaml`, :func:`parse_stored_yaml` and any other reader of YAML read them back to equal values.

    Args:
        settings: A model, such as a recipe, or a mapping of plain values.
    """
    plain = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else dict(settings)
    text: str = yaml.dump(
        plain, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )
    return text


def parse_yaml(text: str, origin: str) -> Any:
    """Return the value of a YAML text that a person wrote (YAML 1.2).

    Args:
        text: One document.
        origin: Name of the text in messages, such as its file.

    Raises:
        DeepfakeError: The text is not valid YAML.
    """
    return _parsed(text, origin, _Loader)


def parse_stored_yaml(text: str, origin: str) -> Any:
    """Return the value of a YAML text that this project wrote; it may be an early one, with the quotes of YAML 1.1.

    Args:
        text: One document.
        origin: Name of the text in messages, such as its file.

    Raises:
        DeepfakeError: The text is not valid YAML.
    """
    return _parsed(text, origin, yaml.SafeLoader)


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a YAML file that a person wrote.

    Raises:
        DeepfakeError: The file cannot be read, is not valid YAML, or holds no settings.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise DeepfakeError(f"{path}: cannot be read: {reason}") from error
    settings = parse_yaml(text, str(path))
    if not isinstance(settings, dict):
        raise DeepfakeError(f"{path}: holds no settings; write KEY: VALUE lines, such as batch_size: 32")
    return settings


def _parsed(text: str, origin: str, loader: type[yaml.SafeLoader]) -> Any:
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - a SafeLoader, or one that reads even less
    # A tag that does not fit its value, as in "!!int x", fails in PyYAML with any error of the conversion.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise DeepfakeError(f"{origin}{place}: cannot be read as YAML: {reason}") from error

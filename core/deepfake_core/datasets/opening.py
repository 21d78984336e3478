"""Open the dataset that a user names by an address: ``NAME:PATH?key=value&…``, or a path alone."""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin
from urllib.parse import unquote

from deepfake_core.datasets import Dataset
from deepfake_core.datasets.address import Address
from deepfake_core.datasets.files import exists
from deepfake_core.datasets.labels import parse_labels
from deepfake_core.discovery.plugins import dataset_spec, datasets, import_object
from deepfake_core.errors import MissingExtra, PluginLoadError, TrainingDataError
from deepfake_registry.paths import why_no_path

# A name has at least two letters, so that C:\data is a path. A URL alone, such as hf://…, is not NAME:PATH.
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]+):(?!//)(?P<rest>.*)", re.DOTALL)
_OPTIONS = re.compile(r"(?P<path>.*)\?(?P<options>[A-Za-z_]\w*=.*)", re.DOTALL)
FALLBACK = "image-folder"
"""Layout of a folder that no layout recognises."""


def parse(spec: str | Path) -> Address:
    """Split ``NAME:PATH?key=value&…`` into its parts.

    A :class:`~pathlib.Path` is taken as a path, and so is any text that is the path of an existing file or folder.
    Options follow the last question mark that stands before a name and ``=``. In their values ``%26`` stands for ``&``,
    ``%3F`` for ``?`` and ``%25`` for ``%``.

    Raises:
        TrainingDataError: The text is empty, or an option is not ``key=value`` or is given twice.
    """
    if isinstance(spec, Path) or exists(spec):
        return Address("", str(spec))
    match = _NAMED.fullmatch(spec)
    name, rest = (match["name"], match["rest"]) if match else ("", spec)
    if exists(rest):
        return Address(name, rest)
    found = _OPTIONS.fullmatch(rest)
    path, mark, tail = (found["path"], "?", found["options"]) if found else rest.rpartition("?")
    if not mark:
        path, tail = tail, ""
    options: dict[str, str] = {}
    for part in tail.split("&") if tail else ():
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise TrainingDataError(f"{spec}: option {part!r} is not key=value; write NAME:PATH?key=value&key=value")
        if key in options:
            raise TrainingDataError(f"{spec}: option {key!r} is given twice; keep one")
        options[key] = unquote(value)
    if not name and not path:
        raise TrainingDataError(f"{str(spec)!r} names no dataset; write PATH, or NAME:PATH with one of {_names()}")
    if not match and path in datasets():
        return Address(path, "", options)
    return Address(name, path, options)


def open_dataset(spec: str | Path) -> Dataset:
    """Open the dataset that ``NAME:PATH?key=value&…`` names.

    ``NAME`` is one of :func:`deepfake_core.discovery.plugins.datasets`. Without a name the layout is recognised by the
    content of the path. Options are keyword arguments of the layout's class. A label map is written
    ``labels=VALUE:fake,VALUE:real``, and a list is separated by commas.

    Args:
        spec: Address, or the path of a dataset.

    Raises:
        TrainingDataError: The layout or the path does not exist, the layout has no such option, or the layout cannot be
            recognised.
        DuplicatePlugin, PluginLoadError: The plugin of the layout cannot be used.
    """
    return open_address(resolved(spec))


def resolved(spec: str | Path) -> Address:
    """Parse an address, and recognise the layout if the address does not name it.

    Args:
        spec: Address, or the path of a dataset.

    Raises:
        TrainingDataError: The text is no address, the path does not exist, or the layout cannot be recognised.
    """
    address = parse(spec)
    return replace(address, name=address.name or _recognise(address.path))


def open_address(address: Address) -> Dataset:
    """Open the dataset at an address that names its layout.

    Raises:
        TrainingDataError: The layout does not exist, or has no such option.
        DuplicatePlugin, PluginLoadError: The plugin of the layout cannot be used.
    """
    spec = dataset_spec(address.name)
    if re.match("https?:", address.path):
        raise TrainingDataError(f"{address.path}: {why_no_path(address.path)}")
    kind: type[Dataset] = import_object(spec.dataset)
    dataset = kind(*[address.path] if address.path else [], **_options(address.name, kind, address))
    dataset.address = address
    return dataset


def _recognise(path: str) -> str:
    """Return the name of the layout of an existing file or folder."""
    if not exists(path):
        reason = why_no_path(path) or "no such file or folder; name an existing one, or write NAME:PATH"
        raise TrainingDataError(f"{path}: {reason}")
    found, broken = [], []
    for name, entry in datasets().items():
        try:
            if import_object(entry.spec.dataset).recognises(Path(path)):
                found.append(name)
        except (PluginLoadError, MissingExtra) as error:
            broken.append(f"{name} cannot be asked ({error})")
    if len(found) > 1:
        raise TrainingDataError(f"{path}: could be {' or '.join(found)}; say which: {found[0]}:{path}")
    if not found and not Path(path).is_dir():
        hint = "".join(f"; {reason}" for reason in broken)
        raise TrainingDataError(f"{path}: its layout is not recognised; write NAME:{path} with one of {_names()}{hint}")
    # The layout image-folder explains best what is wrong with a folder that no layout recognises.
    return found[0] if found else FALLBACK


def _options(name: str, kind: type[Dataset], address: Address) -> dict[str, Any]:
    """Return the keyword arguments for a layout's class, converted to the types of its signature."""
    from pydantic import TypeAdapter, ValidationError

    parameters = list(inspect.signature(kind).parameters.values())
    hints = typing.get_type_hints(kind.__init__)
    possible = [parameter.name for parameter in parameters[1:]]
    if not address.path and parameters and parameters[0].default is inspect.Parameter.empty:
        raise TrainingDataError(f"{name} needs a path: {name}:PATH")
    values: dict[str, Any] = {}
    for key, text in address.options.items():
        if key not in possible:
            close = difflib.get_close_matches(key, possible, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(possible) or 'none'}"
            raise TrainingDataError(f"{name} has no option {key!r}; {hint}")
        try:
            values[key] = TypeAdapter(hints.get(key, str)).validate_python(_structured(text, hints.get(key, str)))
        except ValidationError as error:
            raise TrainingDataError(f"{name}: option {key}={text}: {error.errors()[0]['msg']}") from error
        except ValueError as error:
            raise TrainingDataError(f"{name}: option {key}={text}: {error}") from error
    return values


def _structured(text: str, hint: Any) -> Any:
    """Return a label map or a list if the type of the option is one; otherwise the text itself."""
    alternatives = get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    origins = {get_origin(alternative) or alternative for alternative in alternatives}
    if Mapping in origins or dict in origins:
        return parse_labels(text)
    if origins & {tuple, list}:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _names() -> str:
    return ", ".join(datasets())

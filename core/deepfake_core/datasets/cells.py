"""Read cells of tables and fields of records: images, class names, texts and lists of persons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deepfake_core.errors import TrainingDataError


def picture(cell: Any, where: str, advised: Callable[..., str]) -> Path | bytes:
    """Return the bytes of an encoded image, or the path of an image file on this machine.

    Args:
        cell: Bytes, or a dictionary with ``bytes`` and ``path`` as Hugging Face writes it.
        where: Name of the row in an error message.
        advised: Function that writes the address of the dataset with other options.

    Raises:
        TrainingDataError: The cell contains neither.
    """
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if isinstance(content, bytes):
        return content
    if isinstance(path, str) and Path(path).is_file():
        return Path(path)
    raise TrainingDataError(
        f"{where}: holds no bytes of a picture; choose the column by image=NAME: {advised(image='NAME')}"
    )


def class_name(value: Any, names: Sequence[str], where: str) -> Any:
    """Return the name of a class that is given as a number, or the value itself if the classes have no names.

    Args:
        value: Cell of the column of labels.
        names: Names of the classes, by number; may be empty.
        where: Name of the row in an error message.

    Raises:
        TrainingDataError: The value is not the number of a class.
    """
    if not names:
        return value
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise TrainingDataError(f"{where}: label {value!r} is none of the {len(names)} classes {', '.join(names)}")
    return names[value]


def text(cell: Any, default: str = "") -> str:
    """Return a cell as text, or the default for an empty cell. The number 0 is not empty."""
    return default if cell is None or cell == "" else str(cell)


def persons(cell: Any) -> tuple[str, ...]:
    """Return the persons that a cell names: ``("a", "b")`` for ``"a;b"`` or a list, ``()`` for an empty cell."""
    parts = cell if isinstance(cell, list) else text(cell).split(";")
    return tuple(person for part in parts if (person := str(part).strip()))

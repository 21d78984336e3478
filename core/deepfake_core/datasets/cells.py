"""Cells of tables and fields of records: pictures, class names, texts and lists of persons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfake_core.errors import TrainingDataError


def picture(cell: Any, where: str) -> Path | bytes:
    """The bytes of a picture's file, or the path of one that lies on this machine.

    Args:
        cell: Bytes; or the dictionary with ``bytes`` and ``path`` that Hugging Face writes.
        where: What to call the row in an error.

    Raises:
        TrainingDataError: It is neither.
    """
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if isinstance(content, bytes):
        return content
    if isinstance(path, str) and Path(path).is_file():
        return Path(path)
    raise TrainingDataError(f"{where}: holds no bytes of a picture; choose the column by image=NAME")


def class_name(value: Any, names: Sequence[str], where: str) -> Any:
    """The name of a class given by number; the value itself where classes have no names.

    Raises:
        TrainingDataError: There is no such class.
    """
    if not names:
        return value
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise TrainingDataError(f"{where}: label {value!r} is none of the {len(names)} classes {', '.join(names)}")
    return names[value]


def text(cell: Any, default: str = "") -> str:
    """A cell as text; 0 is a number like others, and only an empty cell takes the default."""
    return default if cell is None or cell == "" else str(cell)


def persons(cell: Any) -> tuple[str, ...]:
    """``"a;b"``, or a list → ``("a", "b")``; nothing for an empty cell."""
    parts = cell if isinstance(cell, list) else text(cell).split(";")
    return tuple(person for part in parts if (person := str(part).strip()))

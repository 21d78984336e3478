"""Files of a dataset: listed in a stable order, and never outside of its root."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES

MEDIA_SUFFIXES = PICTURE_SUFFIXES | VIDEO_SUFFIXES

_DIGITS = re.compile(r"(\d+)")


def inside(root: Path, name: str, where: str, *, absolute: bool = False) -> Path:
    """The file that a table or a list names.

    The check is of names: a link within the root may lead anywhere, as the owner of the dataset made it.

    Args:
        root: What relative names start from, and may not leave.
        name: As the dataset has it.
        where: What to call the place in an error: the file, with the row or the key.
        absolute: Whether an absolute path is taken too.

    Raises:
        TrainingDataError: The name is empty, leaves the root, or is absolute where it must not be.
    """
    path = Path(name)
    if not name.strip() or "\0" in name:
        raise TrainingDataError(f"{where}: the path is empty or no path; correct it")
    if path.is_absolute() and absolute and ".." not in path.parts:
        return path
    relative = Path(os.path.normpath(path))
    if path.is_absolute() or path.drive or ".." in relative.parts or relative == Path():
        raise TrainingDataError(f"{where}: path {name!r} leads outside of {root}; correct it")
    return root / relative


def folders(root: Path) -> list[Path]:
    """Folders in a folder, sorted, without hidden ones.

    Raises:
        TrainingDataError: It cannot be listed.
    """
    return [path for path in listed(root) if path.is_dir()]


def listed(root: Path) -> list[Path]:
    """What is in a folder, sorted, without hidden things.

    Raises:
        TrainingDataError: It cannot be listed.
    """
    try:
        return sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise TrainingDataError(f"{root}: cannot be listed ({error.strerror}); name an existing folder") from error


def walk(folder: Path, order: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Files below a folder, sorted; links to folders are not followed, so that a loop cannot trap it."""
    for path in sorted(listed(folder), key=order) if order else listed(folder):  # type: ignore[arg-type]
        if not path.is_dir():
            yield path
        elif not path.is_symlink():
            yield from walk(path, order)


def by_number(path: Path) -> tuple[tuple[int, str], ...]:
    """Key that sorts ``2.jpg`` before ``10.jpg``."""
    parts = _DIGITS.split(path.name)
    return tuple((int(part), part) if part.isdecimal() else (-1, part) for part in parts)

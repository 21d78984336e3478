"""List the files of a dataset in a stable order, and check the paths that its tables contain."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.folders import is_folder, walk_folder
from deepfake_core.inputs.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES

MEDIA_SUFFIXES = PICTURE_SUFFIXES | VIDEO_SUFFIXES
"""Suffixes of images and videos, in lower case."""


def inside(root: Path, name: str, where: str, *, absolute: bool = False, remedy: str = "correct it") -> Path:
    """Return the path of a file that a table or a list names, after checking that it stays below the root.

    Only the name is checked: a link below the root may lead anywhere, because the owner of the dataset made it.
    Except on Windows, a name with backslashes is read as a path of Windows, unless a file of exactly that name exists.

    Args:
        root: Folder that a relative name starts from and may not leave.
        name: Path as the dataset contains it.
        where: Name of the place in an error message: the file, with the row or the key.
        absolute: Whether an absolute path is allowed.
        remedy: What to do about a path that leads elsewhere, for the message.

    Raises:
        TrainingDataError: The name is empty, leaves the root, or is absolute although that is not allowed or only
            Windows could read it.
    """
    if os.sep == "/" and ("\\" in name or name[1:2] == ":") and not exists(os.path.join(root, name)):  # noqa: PTH118
        if PureWindowsPath(name).is_absolute():
            raise TrainingDataError(f"{where}: path '{name}' is an absolute path of Windows; {remedy}")
        name = name.replace("\\", "/")
    path = Path(name)
    if not path.name.strip() or "\0" in name:
        raise TrainingDataError(f"{where}: the path is empty or no path; correct it")
    if path.is_absolute() and absolute and ".." not in path.parts:
        return path
    relative = Path(os.path.normpath(path)) if ".." in path.parts else path
    if path.is_absolute() or path.drive or ".." in relative.parts or not relative.parts:
        raise TrainingDataError(f"{where}: path {name!r} leads outside of {root}; {remedy}")
    return root / relative


def read_json(file: Path) -> Any:
    """Return the content of a JSON file of a published dataset.

    Raises:
        TrainingDataError: The file cannot be read.
    """
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingDataError(f"{file}: cannot be read ({error}); download it again") from error


def exists(path: str | Path) -> bool:
    """Return whether a file or folder exists. Any text is allowed, even one that is too long for a path."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises for such text


def file_state(path: Path) -> tuple[int, int, int] | None:
    """Return what tells that a file is still the same: its size in bytes, its modification and its change time in ns.

    A file that replaces another one has another change time, even where ``cp -p`` or ``rsync`` keep size and
    modification time: the system sets it, and no program can. On Windows it is the time at which the file was created.
    The result is ``None`` if the file cannot be found.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def folders(root: Path) -> list[Path]:
    """Return the folders directly in a folder, sorted by name, without hidden ones.

    Raises:
        TrainingDataError: The folder cannot be listed.
    """
    try:
        with os.scandir(root) as entries:
            # The entry of a file tells that it is none without a look at the file; a class may have a million.
            names = [entry.name for entry in entries if not entry.name.startswith(".") and is_folder(entry)]
    except OSError as error:
        raise _unlistable(root, error) from error
    return [root / name for name in sorted(names)]


def listed(root: Path) -> list[Path]:
    """Return the files and folders directly in a folder, sorted by name, without hidden ones.

    Raises:
        TrainingDataError: The folder cannot be listed.
    """
    try:
        return sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise _unlistable(root, error) from error


def matching(root: Path, *patterns: str) -> list[Path]:
    """Return the files below a folder that match patterns such as ``*/*.json``: sorted, without hidden ones.

    Links are followed; of the folders that are one and the same, the first gives its files.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            if not any(part.startswith(".") for part in path.relative_to(root).parts):
                found.setdefault(str(Path(os.path.realpath(path.parent), path.name)), path)
    return list(found.values())


def files_below(folder: Path, order: Callable[[str], Any] = str, *, entered: set[str] | None = None) -> Iterator[Path]:
    """Yield the files below a folder, sorted by name, without hidden ones.

    Links are followed as :func:`~deepfake_core.inputs.folders.walk_folder` says. Here the folders that contain
    ``folder`` count as entered too: a link from ``real/`` back to the dataset's root would otherwise give its fakes as
    real files.

    Args:
        folder: Folder to begin with.
        order: Sort key of a name.
        entered: Real paths of the folders that were read already, which are left out; those of this walk are added.

    Raises:
        TrainingDataError: A folder cannot be listed.
    """
    before = set() if entered is None else entered
    real = Path(os.path.realpath(folder))
    parent = Path(os.path.realpath(Path(os.path.abspath(folder)).parent))  # noqa: PTH100 - a link has a parent too
    above = {str(path) for path in (parent, *parent.parents, *real.parents)} - {str(real)}
    met = above | before
    try:
        for inner, names in walk_folder(folder, order, entered=met):
            for name in names:
                yield Path(inner, name)
    except OSError as error:
        raise _unlistable(error.filename or folder, error) from error
    before |= met - above


def _unlistable(folder: str | Path, error: OSError) -> TrainingDataError:
    return TrainingDataError(f"{folder}: cannot be listed ({error.strerror}); name an existing folder")

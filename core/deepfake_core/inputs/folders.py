"""Walk a folder: the one rule on hidden files, order and symbolic links, for inputs and for datasets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any


def walk_folder(
    top: str | os.PathLike[str],
    order: Callable[[str], Any] = str,
    *,
    files_first: bool = False,
    entered: set[str] | None = None,
    skip_unreadable: bool = False,
) -> Iterator[tuple[str, list[str]]]:
    """Yield ``(folder, names of files in it)`` for a folder and all folders below it, sorted by name.

    Hidden files and folders are left out. Links to files and to folders are followed. A folder that was entered already
    is not entered again, whatever link leads to it, so that a loop of links ends. A link that leads nowhere counts as a
    file.

    Args:
        top: Folder to begin with. Yielded folders begin with it exactly as it is given.
        order: Sort key of a name.
        files_first: Whether the files of a folder come before those of its sub-folders, in one list. Otherwise files
            and sub-folders are sorted together, and a folder is yielded again for the files after each sub-folder.
        entered: Real paths of the folders that were entered already. The walk adds its own.
        skip_unreadable: Whether a folder that cannot be listed is left out.

    Raises:
        OSError: A folder cannot be listed, and ``skip_unreadable`` is false. Its ``filename`` is the folder.
    """
    entered = set() if entered is None else entered
    # A stack of folders to enter (names is None) and of files to yield; it bounds no depth, as recursion would.
    waiting: list[tuple[str, list[str] | None]] = [(os.fspath(top), None)]
    while waiting:
        folder, names = waiting.pop()
        if names is not None:
            yield folder, names
            continue
        real = os.path.realpath(folder)
        if real in entered:
            continue
        entered.add(real)
        try:
            found = _visible(folder)
        except OSError:
            if not skip_unreadable:
                raise
            continue
        found.sort(key=lambda entry: (files_first and entry[1], order(entry[0])))
        parts: list[tuple[str, list[str] | None]] = []
        for is_folder, entries in groupby(found, key=lambda entry: entry[1]):
            if is_folder:
                # Joined as text: a Path would rewrite the form in which ``top`` is given.
                parts += [(os.path.join(folder, name), None) for name, _ in entries]  # noqa: PTH118
            else:
                parts.append((folder, [name for name, _ in entries]))
        waiting += reversed(parts)


def _visible(folder: str) -> list[tuple[str, bool]]:
    """Return ``(name, whether it is a folder)`` for everything in a folder that is not hidden, in no order."""
    with os.scandir(folder) as entries:
        # Names are kept rather than paths, because a folder may hold a million files.
        return [(entry.name, is_folder(entry)) for entry in entries if not entry.name.startswith(".")]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a folder is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False

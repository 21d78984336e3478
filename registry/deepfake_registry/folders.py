"""The folders of the user: the cache, and the data folder that holds the default registry.

Some processes have no such folders: a service, a container whose user has no home, a read-only file system.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from deepfake_registry.errors import DeepfakeError

CACHE_VARIABLE = "DEEPFAKE_CACHE"
"""Environment variable with the cache folder."""

log = logging.getLogger("deepfake.cache")


def cache_folder(entry: str = "") -> Path:
    """Return the folder of files that can be fetched or made again.

    It is the one that ``DEEPFAKE_CACHE`` names, or else the user's cache folder. Where the latter neither holds the
    entry nor can take it, it is a folder for temporary files, and a warning says so.

    Args:
        entry: Path below the folder that is to be read or written.

    Raises:
        DeepfakeError: No folder can be written.
    """
    setting = os.environ.get(CACHE_VARIABLE, "").strip()
    if setting:
        return expanded(setting)
    from platformdirs import user_cache_path

    own = _absolute(user_cache_path)
    if own is not None and ((entry and (own / entry).exists()) or _can_be_written(own)):
        return own
    return _temporary_folder(own)


def data_folder() -> Path:
    """Return the folder of the user's own data.

    Raises:
        DeepfakeError: The user has none, because the home folder is unknown.
    """
    from platformdirs import user_data_path

    own = _absolute(user_data_path)
    if own is None:
        raise DeepfakeError("there is no folder for the user's data, because the home folder is unknown; set HOME")
    return own


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path in which a leading ``~`` stands for the home folder.

    Raises:
        DeepfakeError: The home folder is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DeepfakeError(
            f"{os.fspath(path)}: the home folder is unknown; set HOME, or name the whole path"
        ) from error


def _absolute(find: Callable[..., Path]) -> Path | None:
    """Return a folder of the user as platformdirs names it; ``None`` where the home folder is unknown."""
    try:
        found = find("deepfake-core")
    except (RuntimeError, KeyError):
        return None
    return found if found.is_absolute() else None  # older releases return "~" as it is


def _can_be_written(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself where it does not exist."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


@cache
def _temporary_folder(instead_of: Path | None) -> Path:
    """Return a folder of this user alone among the temporary files, and warn once that it is used."""
    user = os.getuid() if hasattr(os, "getuid") else ""
    try:
        folder = Path(tempfile.gettempdir(), f"deepfake-core-{user}")
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if folder.is_symlink() or (user != "" and found.st_uid != user) or found.st_mode & 0o022:
            folder = Path(tempfile.mkdtemp(prefix="deepfake-core-"))  # another user took the name
    except OSError as error:
        raise DeepfakeError(
            f"there is no folder for files that are kept ({error.strerror}); set {CACHE_VARIABLE} to a folder"
        ) from error
    missing = f"{instead_of} cannot be written" if instead_of else "the home folder is unknown"
    log.warning("%s: the cache is in %s; %s names another folder", missing, folder, CACHE_VARIABLE)
    return folder

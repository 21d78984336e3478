"""Write files atomically, so that each is whole or absent, and compute their hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_registry.errors import DeepfakeError

CACHE_VARIABLE = "DEEPFAKE_CACHE"
"""Environment variable with the cache folder."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that becomes ``target`` when the block ends without an error.

    The file is flushed to disk before it is renamed, and the directory afterwards, so that a crash leaves either the
    old file or the new one. After an error the temporary file is deleted.

    Raises:
        DeepfakeError: The disk is full; the file that was there before is unchanged.
    """
    target = Path(target)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _settle(temporary)
        temporary.replace(target)
        _sync_directory(target.parent)
    except Exception as error:
        if not _no_room(error, target.parent):
            raise
        kept = "; the file that was there before is unchanged" if target.exists() else ""
        raise DeepfakeError(f"{target}: cannot be written, the disk is full{kept}; free space and try again") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(target: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``target`` that becomes ``target`` when the block ends without an error.

    After an error the temporary folder is deleted.

    Raises:
        DeepfakeError: ``target`` exists and is not an empty folder (it stays unchanged), or the disk is full.
    """
    target = Path(target)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise DeepfakeError(f"{target}: is there already; remove it, or write to another folder")
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        folder = temporary / target.name
        folder.mkdir()  # this folder has the usual permissions, which the temporary one has not
        yield folder
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
        if target.is_dir():
            target.rmdir()
        folder.replace(target)
        _sync_directory(target.parent)
    except Exception as error:
        if not _no_room(error, target.parent):
            raise
        raise DeepfakeError(f"{target}: cannot be written, the disk is full; free space and try again") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_atomic(target: str | Path, data: bytes | str) -> None:
    """Write ``data`` to ``target``, whole or not at all.

    Raises:
        DeepfakeError: The disk is full; the file that was there before is unchanged.
    """
    with atomic_path(target) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_new(target: str | Path, data: bytes) -> None:
    """Write a file that must not exist yet, whole or not at all; of several writers at once, exactly one succeeds.

    Raises:
        FileExistsError: The file exists already; it is unchanged.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        _settle(temporary)
        os.link(temporary, target)  # unlike a rename, this atomic step never replaces a file
        _sync_directory(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return the folder of files that can be fetched or made again: ``DEEPFAKE_CACHE``, or the user's cache folder."""
    from platformdirs import user_cache_path

    setting = os.environ.get(CACHE_VARIABLE, "").strip()
    return Path(setting) if setting else user_cache_path("deepfake-core")


def sha256_file(path: str | Path) -> str:
    """Return the hex sha256 of a file, which is read in blocks."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _no_room(error: Exception, folder: Path) -> bool:
    """Whether a write failed because the disk is full, which torch's writer does not report as such."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    if "no space left" in str(error).lower():
        return True
    try:
        return not isinstance(error, DeepfakeError) and shutil.disk_usage(folder).free < 2**20
    except OSError:
        return False


def _settle(temporary: Path) -> None:
    """Flush a temporary file to disk and give it ordinary permissions."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)


def _sync_directory(path: Path) -> None:
    """Flush a directory to disk, so that a rename in it survives a crash."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

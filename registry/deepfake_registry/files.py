"""Write files atomically, so that each is whole or absent, and compute their hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_registry.errors import DeepfakeError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LONGEST = 40  # characters of a target's name in that of its temporary file; file systems allow 255 bytes


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that becomes ``target`` when the block ends without an error.

    The file is flushed to disk before it is renamed, and the directory afterwards, so that a crash leaves either the
    old file or the new one. After an error the temporary file is deleted.

    Raises:
        DeepfakeError: The file cannot be written, or the disk is full; the file that was there before is unchanged.
    """
    target = Path(target)
    temporary: Path | None = None
    try:
        with _refused(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = _empty_file(target)
            mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        with _refused(target):
            if stat.S_IMODE(temporary.stat().st_mode) != mode:  # a library made the file anew, for its owner alone
                temporary.chmod(mode)
            _flush(temporary)
            temporary.replace(target)
            _flush_folder(target.parent)
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
        DeepfakeError: ``target`` exists and is not an empty folder (it stays unchanged), it cannot be written, or the
            disk is full.
    """
    target = Path(target)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise DeepfakeError(f"{target}: is there already; remove it, or write to another folder")
    temporary: Path | None = None
    try:
        with _refused(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            prefix = f".{target.name[:_LONGEST]}."
            temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=target.parent))
            folder = temporary / target.name
            folder.mkdir()  # this folder has the usual permissions, which the temporary one has not
        yield folder
        with _refused(target):
            for path in folder.rglob("*"):
                if path.is_file():
                    _flush(path)
            if target.is_dir():
                target.rmdir()
            folder.replace(target)
            _flush_folder(target.parent)
    except Exception as error:
        if not _no_room(error, target.parent):
            raise
        raise DeepfakeError(f"{target}: cannot be written, the disk is full; free space and try again") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def check_writable(target: str | Path, *, needs_bytes: int = 0) -> None:
    """Refuse a place where a file or folder cannot be written, before the work whose result belongs there.

    Args:
        target: File or folder that will be written; folders above it need not exist yet. Nothing is left there.
        needs_bytes: Size of what will be written, as far as it is known.

    Raises:
        DeepfakeError: It cannot be written, or the disk has too little space.
    """
    target = Path(target)
    with _refused(target):
        there = next(place for place in (target, *target.absolute().parents) if place.exists())
        folder = there if there.is_dir() else target.absolute().parent
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            needs_bytes = max(needs_bytes, 1)
    free = shutil.disk_usage(folder).free
    if free < needs_bytes:
        raise DeepfakeError(
            f"{target}: needs {-(-needs_bytes // 10**6):,} MB, and the disk has {free // 10**6:,} MB left; free space, "
            "or name another place"
        )


def write_atomic(target: str | Path, data: bytes | str) -> None:
    """Write ``data`` to ``target``, whole or not at all.

    Raises:
        DeepfakeError: The file cannot be written, or the disk is full; the file that was there before is unchanged.
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
    temporary = _empty_file(target)
    try:
        temporary.write_bytes(data)
        _flush(temporary)
        _rename_to_new(temporary, target)
        _flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


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


@contextmanager
def _refused(target: Path) -> Iterator[None]:
    """Turn an error of the file system into one line about the target, except for a full disk, which has its own."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise DeepfakeError(
            f"{target}: cannot be written ({error.strerror}); close the programs that use it, allow writing to its "
            "folder, or name another place"
        ) from error


def _empty_file(target: Path) -> Path:
    """Make an empty temporary file beside a target, with the permissions that the system gives to any new file.

    The process's umask is neither read nor changed: other threads may be making files at the same time.
    """
    while True:
        temporary = target.with_name(f".{target.name[:_LONGEST]}.{secrets.token_hex(4)}.tmp")
        try:
            temporary.touch(exist_ok=False)
        except FileExistsError:
            continue
        return temporary


def _flush(path: Path) -> None:
    """Flush a file to disk; Windows does so only for a file that is open for writing."""
    with path.open("r+b" if os.access(path, os.W_OK) else "rb") as stream:  # a library may have made it read-only
        os.fsync(stream.fileno())


def _flush_folder(path: Path) -> None:
    """Flush a folder to disk, so that a rename in it survives a crash, where the system can open and flush folders."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not listed, and every folder of Windows
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that flush no folders
            raise
    finally:
        os.close(descriptor)


def _rename_to_new(temporary: Path, target: Path) -> None:
    """Give a file its name in one step that fails with FileExistsError where the name is taken."""
    if os.name == "nt":
        temporary.rename(target)  # never replaces a file there, and not every file system has hard links
    else:
        target.hardlink_to(temporary)

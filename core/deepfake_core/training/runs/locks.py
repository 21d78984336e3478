"""The lock that gives a run's folder, or another file, one writer at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.errors import DeepfakeError, MissingExtra

if TYPE_CHECKING:
    from filelock import FileLock

LOCK = ".lock"
"""Name of the lock file in a run's folder."""

LOCK_WAIT_S = 10.0
"""How long to wait for the previous writer: after a kill, its data-loading processes take some seconds to end."""


def lock_of(file: Path) -> FileLock:
    """Return the lock of a lock file, without acquiring it.

    Raises:
        MissingExtra: The ``filelock`` package is absent.
    """
    try:
        from filelock import FileLock
    except ModuleNotFoundError:
        raise MissingExtra("a run's folder", "deepfake-core[torch]") from None
    return FileLock(file, thread_local=False)


def locked(file: Path, busy: str, wait_s: float) -> FileLock:
    """Acquire a lock, which the caller must release.

    Args:
        file: Lock file; it is made when it does not exist.
        busy: Message of the error when another process holds the lock.
        wait_s: How long to wait for that process, in seconds.

    Raises:
        DeepfakeError: Another process holds the lock, or the folder cannot be written to.
        MissingExtra: The ``filelock`` package is absent.
    """
    lock = lock_of(file)
    from filelock import Timeout

    try:
        lock.acquire(timeout=wait_s, poll_interval=0.1)
    except Timeout:
        raise DeepfakeError(busy) from None
    except OSError as error:
        raise DeepfakeError(f"{file.parent}: cannot be written ({error.strerror}); name another folder") from error
    return lock


def lock_run(folder: Path) -> FileLock:
    """Acquire the lock of a run's folder, which the caller must release.

    Raises:
        DeepfakeError: Another process writes to the run, or the folder cannot be written to.
        MissingExtra: The ``filelock`` package is absent.
    """
    busy = f"{folder}: another process writes to this run; wait for it, stop it, or name another folder"
    return locked(folder / LOCK, busy, LOCK_WAIT_S)

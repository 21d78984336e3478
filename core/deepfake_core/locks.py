"""Locks of files between processes; who waits for one is told for which, and who holds it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.errors import DeepfakeError, MissingExtra

if TYPE_CHECKING:
    from filelock import FileLock

log = logging.getLogger("deepfake.locks")

NOTICE_S = 2.0
"""Seconds of waiting after which a line says so."""


def lock_of(file: Path, purpose: str = "a run's folder") -> FileLock:
    """Return the lock of a lock file, without acquiring it.

    Args:
        file: Lock file.
        purpose: What needs the ``filelock`` package, for the error.

    Raises:
        MissingExtra: The ``filelock`` package is absent.
    """
    try:
        from filelock import FileLock
    except ModuleNotFoundError:
        raise MissingExtra(purpose, "deepfake-core[torch]") from None
    return FileLock(file, thread_local=False)


def locked(file: Path, busy: str, wait_s: float | None = None, purpose: str = "a run's folder") -> FileLock:
    """Acquire a lock, which the caller must release.

    Args:
        file: Lock file; it and its folder are made when they do not exist.
        busy: Message of the error when another process holds the lock for longer.
        wait_s: How long to wait for that process, in seconds; ``None`` waits until it has finished.
        purpose: What needs the ``filelock`` package, for the error.

    Raises:
        DeepfakeError: Another process holds the lock, or the folder cannot be written to.
        MissingExtra: The ``filelock`` package is absent.
    """
    lock = lock_of(file, purpose)
    from filelock import Timeout

    patient = wait_s is None or wait_s > NOTICE_S
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=NOTICE_S if patient else wait_s, poll_interval=0.1)
        except Timeout:
            if not patient:
                raise
            log.warning("waiting for %s, which %s holds", file, holder(file))
            lock.acquire(timeout=-1 if wait_s is None else wait_s - NOTICE_S, poll_interval=0.1)
    except Timeout:
        raise DeepfakeError(busy) from None
    except OSError as error:
        raise DeepfakeError(f"{file.parent}: cannot be written ({error.strerror}); name another folder") from error
    return lock


@contextmanager
def holding(file: Path, purpose: str) -> Iterator[None]:
    """Hold a lock within the block, and wait for it as long as another process holds it.

    Args:
        file: Lock file; it and its folder are made when they do not exist.
        purpose: What needs the ``filelock`` package, for the error.

    Raises:
        DeepfakeError: The folder cannot be written to.
        MissingExtra: The ``filelock`` package is absent.
    """
    lock = locked(file, "", None, purpose)
    try:
        yield
    finally:
        lock.release()


def holder(file: Path) -> str:
    """Return who holds the lock of a file: ``process 123`` where Linux tells, else ``another process``."""
    try:
        state = file.stat()
        place = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if "->" not in fields and len(fields) > 5 and fields[5] == place and int(fields[4]) > 0:
                return f"process {int(fields[4])}"
    except (OSError, ValueError, AttributeError):
        pass
    return "another process"

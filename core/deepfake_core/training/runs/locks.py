"""The lock that gives a run's folder one writer at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.locks import locked

if TYPE_CHECKING:
    from filelock import FileLock

LOCK = ".lock"
"""Name of the lock file in a run's folder."""

LOCK_WAIT_S = 10.0
"""How long to wait for the previous writer: after a kill, its data-loading processes take some seconds to end."""


def lock_run(folder: Path) -> FileLock:
    """Acquire the lock of a run's folder, which the caller must release.

    Raises:
        DeepfakeError: Another process writes to the run, or the folder cannot be written to.
        MissingExtra: The ``filelock`` package is absent.
    """
    busy = f"{folder}: another process writes to this run; wait for it, stop it, or name another folder"
    return locked(folder / LOCK, busy, LOCK_WAIT_S)

"""Deletion of what finished runs no longer need."""

from __future__ import annotations

import shutil

from deepfake_core.training.runs.listing import RunInfo
from deepfake_core.training.runs.locks import lock_run


def to_prune(runs: list[RunInfo], keep: int, *, cache: bool = False) -> list[RunInfo]:
    """Return the finished runs whose resume state can be deleted.

    Args:
        runs: Runs as :func:`~deepfake_core.training.runs.listing.describe` returns them.
        keep: Number of runs to keep; they are those that finished last.
        cache: Whether caches are to be deleted too.
    """
    finished = sorted((run for run in runs if run.status == "finished"), key=lambda run: run.changed, reverse=True)
    return [run for run in finished[keep:] if run.last_bytes or (cache and run.cache_bytes)]


def prune(run: RunInfo, *, cache: bool = False) -> int:
    """Delete the resume state of a finished run, and return the freed space in bytes.

    Args:
        run: The run.
        cache: Whether to delete the run's cache too.

    Raises:
        DeepfakeError: Another process writes to the run.
    """
    lock = lock_run(run.folder)
    try:
        (run.folder / "last.pt").unlink(missing_ok=True)
        crops = run.folder / "cache"
        if cache and crops.is_dir() and not crops.is_symlink():
            shutil.rmtree(crops)
    finally:
        lock.release()
    return run.last_bytes + (run.cache_bytes if cache else 0)

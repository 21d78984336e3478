"""What is known about files already, so that long work goes on where it was interrupted."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deepfake_core.errors import MissingExtra, TrainingDataError

if TYPE_CHECKING:
    from deepfake_core.datasets import Sample

COMMIT_EVERY_S = 2.0
"""What a kill can lose, in seconds of work."""

Key = tuple[bytes, int, int]
"""A file as it was: its place, its size in bytes and the time of its last change in ns."""


class State:
    """Text by file, in an SQLite database: after a kill it holds everything up to the last commit.

    It is used by one thread of one process at a time; a second process is refused.

    Args:
        path: The database; made where it is missing.

    Raises:
        TrainingDataError: The file is something else, or is in use.
    """

    def __init__(self, path: Path) -> None:
        database: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(path, timeout=1.0)
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute(
                "CREATE TABLE IF NOT EXISTS files (key BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, facts TEXT)"
            )
            database.commit()
        except (OSError, sqlite3.Error) as error:
            if database is not None:
                database.close()
            reason = f"is not a state file ({error}); delete it or name another one"
            if isinstance(error, (OSError, sqlite3.OperationalError)):
                reason = f"cannot be used ({error}); wait for the command that uses it, or name another file"
            raise TrainingDataError(f"{path}: {reason}") from error
        self.database = database
        self.committed = time.monotonic()

    def get(self, key: Key) -> str | None:
        """What was stored for a file, unless it has changed since."""
        row = self.database.execute("SELECT facts FROM files WHERE key = ? AND size = ? AND mtime = ?", key).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: Key, facts: str) -> None:
        """Store what is known of a file; it is on disk within :data:`COMMIT_EVERY_S`."""
        self.database.execute("REPLACE INTO files VALUES (?, ?, ?, ?)", (*key, facts))
        if time.monotonic() - self.committed > COMMIT_EVERY_S:
            self.database.commit()
            self.committed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.commit()
        self.database.close()


@contextmanager
def in_turn(path: Path) -> Iterator[State]:
    """The :class:`State` of a file that several processes use: each waits until the others have closed it.

    Raises:
        TrainingDataError: The file is something else.
        MissingExtra: The ``filelock`` package is absent.
    """
    try:
        from filelock import FileLock
    except ModuleNotFoundError:
        raise MissingExtra("keeping what is known of files", "deepfake-core[torch]") from None
    with FileLock(f"{path}.lock"), State(path) as state:
        yield state


def key_of(sample: Sample) -> Key | None:
    """How the state knows a sample's file or member; ``None`` where the file cannot be found."""
    try:
        status = sample.path.stat()
    except (OSError, ValueError):
        return None
    place = "\0".join([str(sample.path.absolute()), sample.member, repr(sample.span or "")])
    return os.fsencode(place), status.st_size, status.st_mtime_ns

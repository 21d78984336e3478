"""Cache of facts about files, so that an interrupted command continues where it stopped."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deepfake_core.errors import TrainingDataError
from deepfake_core.locks import holding

if TYPE_CHECKING:
    from deepfake_core.datasets import Sample

COMMIT_EVERY_S = 2.0
"""Longest time between two commits in seconds: a killed process loses at most this much work."""

Key = tuple[bytes, int, int]
"""Identity of a file at one point in time: its path, its size in bytes and its modification time in ns."""


class FactCache:
    """SQLite database that maps files to texts; after a kill it holds everything up to the last commit.

    One thread of one process uses it at a time; a second process is refused.

    Args:
        path: File of the database, which is created if it is missing.

    Raises:
        TrainingDataError: The file is not such a database, or another process uses it.
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
        self.path, self.database = path, database
        self.committed = time.monotonic()

    def get(self, key: Key) -> str | None:
        """Return the text that was stored for a file, or ``None`` if there is none or the file has changed since."""
        row = self.database.execute("SELECT facts FROM files WHERE key = ? AND size = ? AND mtime = ?", key).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: Key, facts: str) -> None:
        """Store a text for a file; a call commits when :data:`COMMIT_EVERY_S` have passed since the last commit.

        Raises:
            TrainingDataError: The database cannot be written, as on a full disk.
        """
        with self._writing():
            self.database.execute("REPLACE INTO files VALUES (?, ?, ?, ?)", (*key, facts))
            if time.monotonic() - self.committed > COMMIT_EVERY_S:
                self.database.commit()
                self.committed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with closing(self.database), self._writing():
            self.database.commit()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise TrainingDataError(
                f"{self.path}: cannot be written ({error}); what was found before is kept: free space, and run the "
                "command again"
            ) from error


def read_facts(path: Path) -> Iterator[tuple[bytes, str]]:
    """Yield the place of each file in a cache (:func:`key_of`) with its text; nothing where there is no cache.

    The file is only read, so that it may lie in a folder of somebody else. What cannot be read is left out.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            for place, facts in database.execute("SELECT key, facts FROM files"):
                yield bytes(place), str(facts)
    except sqlite3.Error:
        return


@contextmanager
def locked_cache(path: Path) -> Iterator[FactCache]:
    """Open a :class:`FactCache` that several processes share: each waits until the others have closed it.

    Raises:
        TrainingDataError: The file is not such a database.
        MissingExtra: The ``filelock`` package is not installed.
    """
    with holding(Path(f"{path}.lock"), "the cache of facts about files"), FactCache(path) as cache:
        yield cache


def key_of(sample: Sample) -> Key | None:
    """Return the key of a sample's file or archive member, or ``None`` if the file cannot be found."""
    try:
        status = sample.path.stat()
    except (OSError, ValueError):
        return None
    place = "\0".join([str(sample.path.absolute()), sample.member, repr(sample.span or "")])
    return os.fsencode(place), status.st_size, status.st_mtime_ns


def folder_behind(path: Path, name: str) -> Path | None:
    """Return the folder that files were read from, as a cache remembers it; ``None`` where it does not.

    Args:
        path: File of the database, which is only read.
        name: Name of one of the files, relative to that folder.
    """
    ending = os.fsencode(f"{os.sep}{name}\0")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as database:
            row = database.execute("SELECT key FROM files WHERE instr(key, ?) > 0", (ending,)).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else Path(os.fsdecode(row[0].split(ending)[0]))

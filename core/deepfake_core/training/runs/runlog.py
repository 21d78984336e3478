"""The log file of a run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

Note = Callable[[str, int, BaseException | None], None]
"""Function that writes a message to the log file alone, given its level and the error that it reports."""

_NAME = "deepfake.run"


@contextmanager
def log_to(file: Path) -> Iterator[Note]:
    """Within the block, append the messages of all loggers named ``deepfake…`` and every warning to a file.

    Yields:
        A function that writes to the file alone.
    """
    _end_torn_line(file)
    handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("deepfake")
    level = root.level
    if root.getEffectiveLevel() > logging.INFO:
        root.setLevel(logging.INFO)
    root.addHandler(handler)
    show = warnings.showwarning

    def note(message: str, level: int, error: BaseException | None) -> None:
        trace = (type(error), error, error.__traceback__) if error is not None else None
        handler.handle(root.makeRecord(_NAME, level, "", 0, message, (), trace))

    def show_and_note(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        note(f"{category.__name__}: {message} ({filename}:{lineno})", logging.WARNING, None)
        show(message, category, filename, lineno, file, line)

    warnings.showwarning = show_and_note
    try:
        yield note
    finally:
        if warnings.showwarning is show_and_note:
            warnings.showwarning = show
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


class _Formatter(logging.Formatter):
    """Formatter whose times have the precision of a second, and a time zone."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="seconds")


def _end_torn_line(file: Path) -> None:
    """End the last line of the file; a killed writer may have left half a line."""
    if file.exists() and file.stat().st_size:
        with file.open("r+b") as stream:
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                stream.write(b"\n")

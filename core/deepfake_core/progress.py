"""Say how far long work is: by a bar where standard error is a terminal, and by lines in the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from itertools import chain, islice
from time import monotonic
from typing import TypeVar

log = logging.getLogger("deepfake.progress")

T = TypeVar("T")

MOST_COUNTED = 10_000
"""Items that are taken before the work begins, so that the bar knows their number; it does not know a larger one."""

FIRST_LINE_S, LINE_S = 5, 30
"""Seconds of work after which the first line is logged, and from each line to the next."""

LONG_S = 3
"""Seconds from which on the end of a stage is logged."""

_bars: list[str] = []  # bars that are shown at present; there is room for one


def is_shown() -> bool:
    """Return whether bars are shown at all."""
    return sys.stderr is not None and sys.stderr.isatty()  # services and pythonw.exe have none


def is_told() -> bool:
    """Return whether anybody is told how far work is, by bars or lines, so that it is worth counting beforehand."""
    return is_shown() or log.isEnabledFor(logging.INFO)


def counted(items: Iterable[T]) -> tuple[Iterator[T], int | None]:
    """Return the items, and their number where it is at most :data:`MOST_COUNTED`: more of them are never kept."""
    rest = iter(items)
    first = list(islice(rest, MOST_COUNTED + 1))
    return chain(first, rest), len(first) if len(first) <= MOST_COUNTED else None


def track(
    items: Iterable[T], description: str, *, total: int | None = None, unit: str = "", lines: bool = True
) -> Iterator[T]:
    """Yield ``items``, and say how far the work is.

    If standard error is a terminal, a bar is shown. Where messages of level INFO are logged, as they are during a run,
    a line is logged after 5 s, another one every 30 s, and one at the end of work that took as long as that.

    Args:
        items: Items to yield.
        description: Label of the bar and of the lines.
        total: Number of items; by default their length, if they have one.
        unit: What the items are, in the plural, for the lines.
        lines: Whether lines are logged; ``False`` for work that logs its own.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if lines and log.isEnabledFor(logging.INFO):
        items = _logged(items, description, total, unit)
    if not is_shown() or _bars:
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as rich_track

    _bars.append(description)
    try:
        yield from rich_track(items, description, total=total, console=Console(stderr=True), transient=True)
    finally:
        _bars.clear()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Log the begin of a stage of a run, and its end if it took some seconds.

    Args:
        name: What is done within the block, such as ``"packaging"``.
    """
    log.info("%s", name)
    begin = monotonic()
    yield
    if (seconds := monotonic() - begin) >= LONG_S:
        log.info("%s: done in %s", name, duration(seconds))


def duration(seconds: float) -> str:
    """Return a duration as text with the precision that a reader needs: ``93 s``, ``12 min`` or ``2.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def not_beside_a_bar(record: logging.LogRecord) -> bool:
    """Return whether a handler that writes to the terminal wants a record: a filter, for the lines that a bar repeats.

    Args:
        record: Any record.
    """
    return not (getattr(record, "is_progress", False) and is_shown())


def _logged(items: Iterable[T], description: str, total: int | None, unit: str) -> Iterator[T]:
    begin = monotonic()
    due, done = begin + FIRST_LINE_S, 0
    for done, item in enumerate(items, 1):
        yield item
        if (now := monotonic()) >= due:
            due = now + LINE_S
            log.info("%s", _line(description, done, total, unit, now - begin), extra={"is_progress": True})
    if (seconds := monotonic() - begin) >= FIRST_LINE_S:
        log.info("%s: %s in %s", description, _count(done, unit), duration(seconds))


def _line(description: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    rate = done / seconds
    parts = [
        _count(done, unit) if total is None else f"{done:,} of {total:,}",
        f"{rate:.3g} {unit}/s".replace(" /", "/"),
    ]
    if total is not None:
        parts.append(f"{duration(max(0, total - done) / rate)} left")
    return f"{description}: {', '.join(parts)}"


def _count(done: int, unit: str) -> str:
    return f"{done:,} {unit}".rstrip()

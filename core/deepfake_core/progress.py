"""Show the progress of long work by a bar, if standard error is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

T = TypeVar("T")

MOST_COUNTED = 10_000
"""Items that are taken before the work begins, so that the bar knows their number; it does not know a larger one."""


def is_shown() -> bool:
    """Return whether progress is shown at all, so that it is worth counting the items beforehand."""
    return sys.stderr is not None and sys.stderr.isatty()  # services and pythonw.exe have none


def counted(items: Iterable[T]) -> tuple[Iterator[T], int | None]:
    """Return the items, and their number where it is at most :data:`MOST_COUNTED`: more of them are never kept."""
    rest = iter(items)
    first = list(islice(rest, MOST_COUNTED + 1))
    return chain(first, rest), len(first) if len(first) <= MOST_COUNTED else None


def track(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and show a progress bar on standard error, if that is a terminal.

    Args:
        items: Items to yield.
        description: Label of the bar.
        total: Number of items; by default their length, if they have one.
    """
    if not is_shown():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, description, total=total, console=Console(stderr=True), transient=True)

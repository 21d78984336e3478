"""Measure how busy other processes keep the processors, since a time that is measured meanwhile is less reliable."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

BUSY = 0.05
"""Share of the processors that other work may take; a time that was measured beside more of it is not judged."""
_PROC = Path("/proc")


class CpuContention:
    """Meter of the share of the processors that other processes take from its construction on.

    Only the processors that this process may be scheduled on are counted. Work of this process and of its descendants
    is not the work of others. It reads ``/proc`` of Linux, which in most containers shows what the whole
    machine does.
    """

    def __init__(self) -> None:
        self._start = _now()

    def share(self) -> float | None:
        """Return the share of the processors' time that other processes have spent so far, in [0, 1].

        ``None`` where the system does not tell it (other systems than Linux).
        """
        end = _now()
        if self._start is None or end is None:
            return None
        total, busy, own = (now - then for now, then in zip(end, self._start, strict=True))
        return min(1.0, max(0.0, busy - own) / total) if total > 0 else 0.0


def busy_with_others(share: float | None) -> str:
    """Return in words that other work took more than :data:`BUSY` of the processors; empty where it did not."""
    if share is None or share <= BUSY:
        return ""
    return f"other work used {100 * share:.0f} % of the processors; repeat on an idle machine"


def busy_among(shares: Iterable[float | None]) -> tuple[int, str]:
    """Return how many shares are above :data:`BUSY`, and their range in words, such as ``6 to 23 %``."""
    busy = [100 * share for share in shares if share is not None and share > BUSY]
    ends = dict.fromkeys(f"{share:.0f}" for share in (min(busy), max(busy))) if busy else ()
    return len(busy), f"{' to '.join(ends)} %" if busy else ""


def _now() -> tuple[float, float, float] | None:
    """Return seconds so far: of these processors, of those the busy ones, and spent by this process and descendants.

    Time that was stolen from a virtual machine counts as busy.
    """
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    try:
        lines = (_PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    rows = [fields for fields in map(str.split, lines) if fields and fields[0] in allowed]
    # A sandbox may show the sum over all processors alone.
    rows = rows or [fields for fields in map(str.split, lines[:1]) if fields and fields[0] == "cpu"]
    ticks = [sum(map(int, column)) for column in zip(*(fields[1:9] for fields in rows), strict=True)]
    if len(ticks) < 8:
        return None
    idle, waiting = ticks[3:5]
    second = os.sysconf("SC_CLK_TCK")
    return sum(ticks) / second, (sum(ticks) - idle - waiting) / second, own + _spent_by_descendants() / second


def _spent_by_descendants() -> int:
    """Return the ticks of running descendants; the system counts only children that have ended."""
    parents, spent = {}, {}
    for number, fields in _processes():
        parents[number] = int(fields[1])
        spent[number] = sum(map(int, fields[11:15]))  # its own and its ended children's, in user and in system mode
    found, newest = 0, {os.getpid()}
    while newest := {number for number, parent in parents.items() if parent in newest and number not in newest}:
        found += sum(spent[number] for number in newest)
    return found


def _processes() -> Iterable[tuple[int, list[str]]]:
    """Yield the number of each process and its fields from the third on."""
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            yield int(stat.parent.name), stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # the process has just ended
            continue

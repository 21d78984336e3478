"""Whether this process has the processors to itself: a time that was taken beside other work tells of that work."""

from __future__ import annotations

import os
from pathlib import Path


class Bystanders:
    """What else keeps the processors busy, from now on; counted where the system tells (Linux)."""

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float:
        """Part of the processors' time that was neither idle nor spent by this process and its children."""
        total, busy, own = (now - then for now, then in zip(self._now(), self._start, strict=True))
        return max(0.0, busy - own) / total if total else 0.0

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds of all processors so far: in all, not idle (time stolen from a virtual machine included), ours."""
        times, stat = os.times(), Path("/proc/stat")
        own = times.user + times.system + times.children_user + times.children_system
        if not stat.exists():
            return 0.0, 0.0, own
        ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in stat.read_text().split("\n", 1)[0].split()[1:9]]
        idle, waiting = ticks[3:5]
        return sum(ticks), sum(ticks) - idle - waiting, own + _spent_by_running_children_s()


def _spent_by_running_children_s() -> float:
    """Seconds that the children of this process have spent which still run; the system adds up those that ended."""
    spent = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == os.getpid():
            spent += sum(map(int, fields[11:15]))  # its own and its children's, in user and in system mode
    return spent / os.sysconf("SC_CLK_TCK")

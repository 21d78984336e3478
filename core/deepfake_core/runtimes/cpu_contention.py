"""Measure how busy other processes keep the processors, since a time that is measured meanwhile is less reliable."""

from __future__ import annotations

import os
from pathlib import Path


class CpuContention:
    """Meter of the share of the processors that other processes take from its construction on.

    It reads ``/proc`` of Linux. On other systems the share is always 0.
    """

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float:
        """Return the share of the processors' time that other processes have spent so far, in [0, 1]."""
        total, busy, own = (now - then for now, then in zip(self._now(), self._start, strict=True))
        return max(0.0, busy - own) / total if total else 0.0

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Return seconds of all processors so far: total, busy, and spent by this process and its children.

        Time that was stolen from a virtual machine counts as busy.
        """
        times, stat = os.times(), Path("/proc/stat")
        own = times.user + times.system + times.children_user + times.children_system
        if not stat.exists():
            return 0.0, 0.0, own
        ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in stat.read_text().split("\n", 1)[0].split()[1:9]]
        idle, waiting = ticks[3:5]
        return sum(ticks), sum(ticks) - idle - waiting, own + _spent_by_running_children_s()


def _spent_by_running_children_s() -> float:
    """Return the seconds of running child processes; the system counts only children that have ended."""
    spent = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # the process has just ended
            continue
        if int(fields[1]) == os.getpid():
            spent += sum(map(int, fields[11:15]))  # its own and its children's, in user and in system mode
    return spent / os.sysconf("SC_CLK_TCK")

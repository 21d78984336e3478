"""Memory of a measured process. It imports nothing heavy: a fresh process asks it at its end."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_rss_mb() -> float:
    """Return the largest resident memory of this process so far in MB; ``nan`` where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held before this program started
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts bytes, others kilobytes

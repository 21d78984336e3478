"""The machine and the libraries that a report was made with."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from deepfake_bench.report import Machine, Measurement, Report
from deepfake_core.runtimes.choice import cpu_model
from deepfake_core.runtimes.threads import allowed_threads

LIBRARIES = (
    "av",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "timm",
    "torch",
    "transformers",
)


def make_report(measurements: Sequence[Measurement]) -> Report:
    """The report of measurements that were taken on this machine just now."""
    return Report(
        project_version=metadata.version("deepfake-core"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        measurements=list(measurements),
    )


def describe_machine() -> Machine:
    """The machine, and the versions of the libraries that decide speed and scores."""
    return Machine(
        cpu=cpu_model(),
        cores=os.cpu_count() or 1,
        allowance=allowed_threads(),
        memory_mb=_memory_mb(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        libraries=_versions(),
    )


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, in MB; ``nan`` where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held before this program started
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts bytes, others kilobytes


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


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _memory_mb() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000

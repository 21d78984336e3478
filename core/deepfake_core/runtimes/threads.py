"""How many threads this process may use: what the machine allows, not what it has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from deepfake_core.errors import DeepfakeError

VARIABLE = "DEEPFAKE_THREADS"


def allowed_threads() -> int:
    """Threads that a computation should use, at least 1.

    ``DEEPFAKE_THREADS`` decides where it is set. Otherwise: the processors that this process may be scheduled
    on, but no more than its control group's CPU quota (containers), rounded down, because a thread that is
    throttled makes the others wait for it.

    Raises:
        DeepfakeError: ``DEEPFAKE_THREADS`` is not a positive integer.
    """
    setting = os.environ.get(VARIABLE, "").strip()
    if setting:
        if not setting.isascii() or not setting.isdigit() or int(setting) == 0:
            raise DeepfakeError(f"{VARIABLE}={setting!r} is not a positive integer; unset it or give a number")
        return int(setting)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, processors if quota is None else min(processors, int(quota)))


def cgroup_quota(mounts: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """Processors' worth of time that the control groups of this process allow, or ``None`` without a limit.

    A limit may be set on any ancestor, so the smallest one counts. Inside a container the listed path can be
    the host's, which is not mounted here: what does not exist is passed over, up to the root of the mount.

    Args:
        mounts: Where the control groups are mounted (version 1 or 2).
        membership: The kernel's list of the groups of this process.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None  # not Linux, or no control groups
    limits: list[float] = []
    for line in lines:
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            limits += _limits(mounts, path, _limit_v2)
        elif "cpu" in controllers.split(","):
            for mount in {mounts / "cpu", mounts / controllers}:
                limits += _limits(mount, path, _limit_v1)
    return min(limits, default=None)


def _limits(mount: Path, path: str, read: Callable[[Path], float | None]) -> list[float]:
    group = mount / path.lstrip("/")
    folders = [group, *group.parents]
    found = (read(folder) for folder in folders[: folders.index(mount) + 1])
    return [limit for limit in found if limit is not None]


def _limit_v2(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _limit_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None  # -1 means no limit


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""

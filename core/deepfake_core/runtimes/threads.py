"""Find the number of threads that this process is allowed to use, which can be less than the number of processors."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from deepfake_core.errors import DeepfakeError

VARIABLE = "DEEPFAKE_THREADS"
"""Environment variable that sets the number of threads."""


def allowed_threads() -> int:
    """Return the number of threads that a computation should use, at least 1.

    It is ``DEEPFAKE_THREADS`` if this variable is set. Otherwise it is the number of processors that this process may
    be scheduled on, limited by the CPU quota of its control groups (in containers). The quota is rounded down, because
    the other threads would wait for a thread that is throttled.

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
    """Return the CPU quota of the control groups of this process, in processors; ``None`` without a quota.

    Every ancestor of a group can have a quota; the smallest one counts. Inside of a container, the listed path can be
    one of the host that is not mounted here. Folders that do not exist are skipped, up to the root of the mount.

    Args:
        mounts: Folder where the control groups are mounted (version 1 or 2).
        membership: File in which the kernel lists the groups of this process.
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

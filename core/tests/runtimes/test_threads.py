from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepfake_core.errors import DeepfakeError
from deepfake_core.runtimes import threads
from deepfake_core.runtimes.threads import allowed_threads, cgroup_quota


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def quota(tmp_path: Path, membership: str) -> float | None:
    write(tmp_path / "self", membership)
    return cgroup_quota(tmp_path / "cgroup", tmp_path / "self")


def test_version_2_takes_the_smallest_limit_of_all_ancestors(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/a/cpu.max", "150000 100000\n")
    write(tmp_path / "cgroup/a/b/cpu.max", "max 100000\n")
    write(tmp_path / "cgroup/a/b/c/cpu.max", "400000 100000\n")
    assert quota(tmp_path, "0::/a/b/c\n") == 1.5


def test_version_1(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "250000")
    write(tmp_path / "cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000")
    write(tmp_path / "cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1")
    write(tmp_path / "cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert quota(tmp_path, "9:memory:/job\n4:cpu,cpuacct:/job\n") == 2.5


def test_path_of_the_host_inside_a_container_falls_back_to_the_mount(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu.max", "200000 100000\n")
    assert quota(tmp_path, "0::/docker/0123456789\n") == 2.0


@pytest.mark.parametrize("membership", ["", "0::/\n", "3:cpuset:/\n"])
def test_no_limit(tmp_path: Path, membership: str) -> None:
    assert quota(tmp_path, membership) is None
    assert cgroup_quota(tmp_path, tmp_path / "absent") is None


@pytest.mark.parametrize(("limit", "expected"), [(None, 8), (2.9, 2), (0.5, 1), (64.0, 8)])
def test_allowance_is_the_smaller_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, expected: int
) -> None:
    monkeypatch.delenv("DEEPFAKE_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "cgroup_quota", lambda: limit)
    assert allowed_threads() == expected


def test_environment_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFAKE_THREADS", " 3 ")
    assert allowed_threads() == 3


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_environment_variable_must_be_a_positive_integer(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DEEPFAKE_THREADS", value)
    with pytest.raises(DeepfakeError, match="DEEPFAKE_THREADS"):
        allowed_threads()

"""Work of other processes is distinguished from that of this process and its descendants."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_core.runtimes import cpu_contention
from deepfake_core.runtimes.cpu_contention import BUSY, CpuContention, busy_among, busy_with_others

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc of Linux")
TICKS = os.sysconf("SC_CLK_TCK")
BURN = "import time\nwhile time.process_time() < 0.4: pass\n"
DONE = "print('done', flush=True); input()"


class Times:
    """What ``os.times`` says of a process that does nothing."""

    user = system = children_user = children_system = 0.0


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """A folder that stands for ``/proc``, of a process that may use the processors 0 and 2 and does nothing."""
    monkeypatch.setattr(cpu_contention, "_PROC", tmp_path)
    monkeypatch.setattr(cpu_contention.os, "sched_getaffinity", lambda who: {0, 2}, raising=False)
    monkeypatch.setattr(cpu_contention.os, "times", Times)
    return tmp_path


def show(proc, lines):
    (proc / "stat").write_text("".join(f"{name} {' '.join(map(str, ticks))}\n" for name, ticks in lines.items()))


def process(proc, number, parent, ticks, name="python"):
    fields = ["0"] * 50
    fields[1], fields[11] = str(parent), str(ticks)
    (proc / str(number)).mkdir(exist_ok=True)
    (proc / str(number) / "stat").write_text(f"{number} ({name}) {' '.join(fields)}")


def test_work_of_others_and_own_work_are_told_apart(monkeypatch):
    clock = iter([(100.0, 40.0, 7.0), (120.0, 55.0, 17.0)])  # of 20 s, 15 s were busy, 10 s of them with our own work
    monkeypatch.setattr(cpu_contention, "_now", lambda: next(clock))
    assert CpuContention().share() == pytest.approx(0.25)


def test_only_processors_of_this_process_count(proc):
    idle = [0, 0, 0, 100, 0, 0, 0, 0, 0, 0]
    show(proc, {"cpu": [0] * 10, "cpu0": idle, "cpu1": idle, "cpu2": idle, "intr": [1]})
    others = CpuContention()
    # 100 ticks each: on cpu0 20 are of users, 10 stolen, 30 waited for a disk; cpu1 is not ours.
    show(
        proc,
        {
            "cpu": [0] * 10,
            "cpu0": [20, 0, 0, 140, 30, 0, 0, 10, 0, 0],
            "cpu1": [100, 0, 0, 100, 0, 0, 0, 0, 0, 0],
            "cpu2": [0, 0, 0, 200, 0, 0, 0, 0, 0, 0],
        },
    )
    assert others.share() == pytest.approx(30 / 200)


def test_a_sandbox_that_shows_the_sum_alone_will_do(proc):
    show(proc, {"cpu": [0, 0, 0, 100, 0, 0, 0, 0, 0, 0]})
    others = CpuContention()
    show(proc, {"cpu": [50, 0, 0, 150, 0, 0, 0, 0, 0, 0]})
    assert others.share() == pytest.approx(0.5)


def test_descendants_are_not_others(proc):
    show(proc, {"cpu0": [0, 0, 0, 0, 0, 0, 0, 0]})
    others = CpuContention()
    show(proc, {"cpu0": [60, 0, 0, 40, 0, 0, 0, 0]})
    process(proc, 70, os.getpid(), 20, name="a) 1 (b")  # a child
    process(proc, 71, 70, 15)  # its child
    process(proc, 72, 1, 25)  # somebody else's
    assert others.share() == pytest.approx(0.25)


@pytest.mark.parametrize("content", [None, "", "cpu0 1 2 3\n"])
def test_what_the_system_does_not_tell_is_unknown(proc, content):
    if content is not None:
        (proc / "stat").write_text(content)
    assert CpuContention().share() is None


@pytest.mark.parametrize("share", [None, 0.0, BUSY])
def test_a_machine_is_not_busy_up_to_the_limit(share):
    assert busy_with_others(share) == ""


@pytest.mark.parametrize(
    ("shares", "said"),
    [([], (0, "")), ([None, 0.05], (0, "")), ([0.234, None], (1, "23 %")), ([0.5, 0.0, 0.06], (2, "6 to 50 %"))],
)
def test_several_shares_are_said_as_a_range(shares, said):
    assert busy_among(shares) == said


def test_a_busy_machine_is_named_in_words():
    assert busy_with_others(0.234) == "other work used 23 % of the processors; repeat on an idle machine"


@linux
def test_work_of_a_child_that_still_runs_is_own_work():
    _, _, before = cpu_contention._now()
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN + DONE!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"done\n"  # the child of our child has worked, and still runs
        _, _, after = cpu_contention._now()
        child.communicate(b"\n")
    assert after - before > 0.3


@linux
def test_work_of_a_process_that_is_not_ours_is_counted():
    # A process whose parent has ended belongs to init.
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BURN + DONE!r}]); print('left')"
    total, busy, own = cpu_contention._now()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert sorted(child.stdout.readline() for _ in range(2)) == [b"done\n", b"left\n"]
        child.wait()
        later = cpu_contention._now()
        child.communicate(b"\n")
    assert later[0] > total
    assert (later[1] - busy) - (later[2] - own) > 0.2, "work that is neither ours nor idle"

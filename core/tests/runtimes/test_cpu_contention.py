"""Work of other processes is distinguished from that of this process and its children."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_core.runtimes.cpu_contention import CpuContention


def test_work_of_others_and_own_work_are_told_apart(monkeypatch):
    assert 0 <= CpuContention().share() <= 1
    clock = iter([(100.0, 40.0, 7.0), (120.0, 55.0, 17.0)])  # of 20 s, 15 s were busy, 10 s of them with our own work
    monkeypatch.setattr(CpuContention, "_now", staticmethod(lambda: next(clock)))
    assert CpuContention().share() == pytest.approx(0.25)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc of Linux")
def test_work_of_a_child_that_still_runs_is_own_work():
    code = "import time\nwhile time.process_time() < 0.4: pass\nprint('done', flush=True); input()"
    _, _, before = CpuContention._now()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"done\n"
        _, _, after = CpuContention._now()
        child.communicate(b"\n")
    assert after - before > 0.3

"""Who waits for a lock is told for which file, and which process holds it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deepfake_core import locks
from deepfake_core.errors import DeepfakeError

pytest.importorskip("filelock")

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path, monkeypatch):
    """A lock file that another process holds until its standard input ends."""
    monkeypatch.setattr(locks, "NOTICE_S", 0.1)
    file = tmp_path / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield file, other
        other.kill()


def test_a_wait_names_the_file_and_the_process(held, caplog):
    file, other = held
    threading.Timer(0.5, other.stdin.close).start()
    with locks.holding(file, "a test"):
        pass
    (line,) = caplog.messages
    named = f"process {other.pid}" if Path("/proc/locks").exists() else "another process"
    assert line in (f"waiting for {file}, which {named} holds", f"waiting for {file}, which another process holds")


@pytest.mark.parametrize("wait_s", [0.0, 0.3])
def test_a_wait_ends_with_an_error_where_it_has_a_limit(held, caplog, wait_s):
    with pytest.raises(DeepfakeError, match="it is busy"):
        locks.locked(held[0], "it is busy", wait_s)
    assert len(caplog.messages) == (wait_s > 0)


def test_a_lock_that_is_free_is_taken_without_a_word(tmp_path, caplog):
    with locks.holding(tmp_path / "new" / ".lock", "a test"):
        assert locks.holder(tmp_path / "new" / ".lock") in (f"process {os.getpid()}", "another process")
    locks.locked(tmp_path / "new" / ".lock", "busy", 0.0).release()
    assert not caplog.messages
    assert locks.holder(tmp_path / "absent") == "another process"

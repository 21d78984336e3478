"""Several processes at once, and processes that are killed: real ones."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from deepfake_registry.errors import RegistryError
from deepfake_registry.store.upkeep import verify

PUSH = """
import sys
from deepfake_registry.errors import RegistryError
from deepfake_registry.store.opening import open_registry
registry = open_registry(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for folder in sys.argv[2:]:
    try:
        published, new = registry.push(folder)
        print("new" if new else "there", published.reference, flush=True)
    except RegistryError as error:
        print("refused", error, flush=True)
"""
MOVE = """
import sys
from deepfake_registry.store.opening import open_registry
registry = open_registry(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    registry.move("tiny", "production", "1", reason=f"{sys.argv[2]}-{number}")
"""


def start(code, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def together(processes):
    """Let all begin at once; what each said."""
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said


def test_two_that_push_different_versions_lose_nothing(registry, package):
    folders = [[package(f"{writer}-{n}", content=b"shared%d" % n) for n in range(12)] for writer in "ab"]
    together([start(PUSH, registry.storage.root, *own) for own in folders])
    assert len(registry.versions("tiny")) == 24
    found = verify(registry)
    assert found.problems == []
    assert found.blobs == 12 + 24  # content and manifests


def test_of_two_that_push_one_version_with_other_content_one_is_refused(registry, package):
    rounds = 12
    folders = [[package(str(n), content=b"%s%d" % (who, n)) for n in range(rounds)] for who in (b"a", b"b")]
    said = together([start(PUSH, registry.storage.root, *own) for own in folders])
    for n in range(rounds):
        assert sorted(lines[n].split()[0] for lines in said) == ["new", "refused"]
        winner = next(i for i in (0, 1) if said[i][n].startswith("new"))
        kept = registry.resolve(f"tiny@{n}")
        assert registry.fetch(kept.manifest.files["onnx"]).read_bytes() == b"%s%d" % (b"ab"[winner : winner + 1], n)
    assert verify(registry).problems == []


def test_two_that_push_the_very_same_agree(registry, package):
    folders = [package(str(n)) for n in range(12)]
    said = together([start(PUSH, registry.storage.root, *folders) for _ in range(2)])
    assert all(line.startswith(("new", "there")) for lines in said for line in lines)
    assert verify(registry).problems == []


def test_two_that_move_an_alias_lose_no_move(registry, package):
    registry.push(package())
    together([start(MOVE, registry.storage.root, who, 40) for who in ("a", "b", "c")])
    history = registry.aliases.history("tiny", "production")
    assert [move.number for move in history] == list(range(1, 121))
    for who in "abc":
        own = [move.reason for move in history if move.reason.startswith(who)]
        assert own == [f"{who}-{number}" for number in range(40)]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_push_that_is_killed_at_any_moment_is_whole_or_absent(registry, package):
    content = [random.Random(n).randbytes(3_000_000) for n in range(3)]
    dice, absent, whole = random.Random(0), 0, 0
    folders = [package(str(n), content=data) for n, data in enumerate(content)]
    duration = _seconds_of(start(PUSH, registry.storage.root / "trial", folders[0]))
    for attempt in range(24):
        folder = folders[attempt % 3]
        process = start(PUSH, registry.storage.root, folder)
        process.stdin.write("\n")
        process.stdin.flush()
        if attempt:  # the first one may end
            time.sleep(dice.uniform(0, duration * 1.2) if attempt > 1 else 0)
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        assert verify(registry).problems == []
        try:
            found = registry.resolve(f"tiny@{attempt % 3}")
        except RegistryError:
            absent += 1
            continue
        whole += 1
        assert registry.fetch(found.manifest.files["onnx"]).read_bytes() == content[attempt % 3]
        # Absent again, with its blobs, so that the next one is killed on the way too.
        (registry.storage.root / "models" / "tiny" / str(attempt % 3) / "manifest.json").unlink()
        for path in registry.storage.files("blobs"):
            registry.storage.delete(path)
    assert absent
    assert whole
    for folder in folders:
        registry.push(folder)
    assert registry.versions("tiny") == ["0", "1", "2"]
    assert verify(registry).problems == []


def _seconds_of(process):
    began = time.perf_counter()
    together([process])
    return time.perf_counter() - began

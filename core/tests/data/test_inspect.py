"""Tests of the inspection of files: each file is read once, and a kill loses little work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from layouts import write
from media import grey_frames, video_bytes
from mini_sets import Tar, jpeg, pictures

from deepfake_core.data import inspect as module
from deepfake_core.data.fact_cache import FactCache, key_of
from deepfake_core.data.inspect import Want, inspect, inspect_all
from deepfake_core.datasets import Sample
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError

SLOW = """
import sys, time
from pathlib import Path
from deepfake_core.data import fact_cache, inspect
fact_cache.COMMIT_EVERY_S = 0.0
look = inspect.inspect
def slowly(data, name, want):
    with open(sys.argv[2], "a") as log:
        log.write("x")
    time.sleep(0.05)
    return look(data, name, want)
inspect.inspect = slowly
from deepfake_core.data.check import check
from deepfake_core.data.manifest import write_manifest
from deepfake_core.datasets.layouts.image_folder import ImageFolder
data = ImageFolder(sys.argv[1])
if sys.argv[3] == "manifest":
    write_manifest(data, Path(sys.argv[4]), threads=1)
else:
    with fact_cache.FactCache(Path(sys.argv[4])) as known:
        check(data, cache=known, threads=1)
"""


def killed_midway(*arguments: object, log: Path, after: int) -> None:
    """Run :data:`SLOW` and kill it after it has inspected some files."""
    command = [sys.executable, "-c", SLOW, *map(str, arguments)]
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 60
        while (not log.exists() or log.stat().st_size < after) and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("command", ["check", "manifest"])
def test_a_kill_in_the_middle_loses_little(tmp_path, monkeypatch, command):  # 001-32, 004-7
    from deepfake_core.data.check import check
    from deepfake_core.data.manifest import read_manifest, write_manifest

    data, log, out = pictures(tmp_path / "set", 60), tmp_path / "log", tmp_path / "out"
    killed_midway(data, log, command, out, log=log, after=30)
    assert log.stat().st_size < 120
    assert not (command == "manifest" and out.exists())
    looked: list[str] = []
    monkeypatch.setattr(module, "inspect", lambda data, name, want: looked.append(name) or inspect(data, name, want))
    if command == "manifest":
        count, _ = write_manifest(ImageFolder(data), out)
        assert count == len(list(read_manifest(out))) == 120
        assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".state") == []
    else:
        with FactCache(out) as cache:
            assert check(ImageFolder(data), cache=cache).examined == 120
    assert len(looked) <= 100  # the last facts may not be committed yet


def test_a_full_disk_ends_with_one_sentence(tmp_path):
    path = tmp_path / "state"
    with FactCache(path) as cache:
        cache.put((b"first", 1, 1), "known")
    with FactCache(path) as cache:
        cache.database.execute("PRAGMA max_page_count = 3")
        with pytest.raises(TrainingDataError, match=r"state: cannot be written \(.*full\).*free space"):
            cache.put((b"second", 1, 1), "x" * 100_000)
    with FactCache(path) as cache:
        assert cache.get((b"first", 1, 1)) == "known"


def test_changed_files_are_looked_into_again(tmp_path, monkeypatch):
    data = ImageFolder(pictures(tmp_path / "set"))
    broken = tmp_path / "set" / "a" / "real" / "r0.jpg"
    broken.write_bytes(b"a drive that fails")
    with FactCache(tmp_path / "state") as cache:
        first = list(inspect_all(data, Want(), cache=cache))
    path = tmp_path / "set" / "a" / "fake" / "f1.jpg"
    path.write_bytes(jpeg(99))
    looked: list[str] = []
    monkeypatch.setattr(module, "inspect", lambda data, name, want: looked.append(name) or inspect(data, name, want))
    with FactCache(tmp_path / "state") as cache:
        second = list(inspect_all(data, Want(), cache=cache))
        assert looked == [str(path), str(broken)], "what could not be read may be whole the next time"
        assert next(row for row in zip(first, second, strict=True) if row[0] != row[1])[0][0].path == path
        list(inspect_all(data, Want(face=True), cache=cache))  # more facts are wanted now
    assert len(looked) == 2 + 8


def test_a_state_file_that_is_none_or_in_use_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to have a header " * 4)
    with pytest.raises(TrainingDataError, match=r"notes\.txt: is not a state file"):
        FactCache(tmp_path / "notes.txt")
    with pytest.raises(TrainingDataError, match=r"notes\.txt/state: cannot be used"):
        FactCache(tmp_path / "notes.txt" / "state")
    with FactCache(tmp_path / "state") as cache:
        cache.put((b"a", 1, 1), "{}")
        with pytest.raises(TrainingDataError, match="wait for the command that uses it"):
            FactCache(tmp_path / "state")


def test_members_of_archives_are_known_apart(tmp_path):
    write(tmp_path / "set", {f"{number}.jpg": jpeg(number) for number in range(3)} | {"3.jpg": b"\xff\xd8\xff broken"})
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for path in sorted((tmp_path / "set").iterdir()):
            archive.add(path, path.name)
    samples = list(Tar(tmp_path / "set.tar"))
    assert len({key_of(sample) for sample in samples}) == 4
    found = [facts for _, facts in inspect_all(Tar(tmp_path / "set.tar"), Want())]
    assert [facts.error[:7] for facts in found] == ["", "", "", "damaged"]
    assert found[0] == inspect(tmp_path / "set" / "0.jpg", "0.jpg", Want())
    assert key_of(Sample(tmp_path / "gone.jpg", False, "s", "g")) is None


def test_a_part_is_spread_evenly(tmp_path):  # 004-7
    data = ImageFolder(pictures(tmp_path, 10))
    found = [facts is not None for _, facts in inspect_all(data, Want(), max_images=6)]
    assert sum(found) == 6
    assert sum(found[:10]) == 3
    assert all(facts is not None for _, facts in inspect_all(data, Want(), max_images=100))


@pytest.mark.parametrize("kind", ["mp4", "matroska", "webm"])
def test_both_ends_of_a_video_are_decoded(tmp_path, kind):
    codec = "libvpx" if kind == "webm" else "mpeg4"
    data = video_bytes(grey_frames(40), format=kind, codec=codec)
    whole = write(tmp_path, {"whole.mp4": data}) / "whole.mp4"
    facts = inspect(whole, "whole.mp4", Want(digest="pictures"))
    assert (facts.error, facts.video, facts.width, facts.height, facts.sha256) == ("", True, 64, 48, "")
    assert facts.brightness == pytest.approx(20 / 255, abs=0.02)
    cut = inspect(data[: len(data) * 2 // 3], "cut", Want())
    assert cut.error
    assert cut.sha256


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    write(tmp_path, {"empty.jpg": b"", "page.jpg": b"<!DOCTYPE html><html>", "torn.jpg": jpeg(1, 200)[:-900]})
    reasons = {
        name: inspect(tmp_path / name, name, Want()).error for name in ("empty.jpg", "page.jpg", "torn.jpg", "no")
    }
    assert "0 bytes" in reasons["empty.jpg"]
    assert "HTML" in reasons["page.jpg"]
    assert "incomplete" in reasons["torn.jpg"]
    assert "cannot be read" in reasons["no"] or "no such file" in reasons["no"]

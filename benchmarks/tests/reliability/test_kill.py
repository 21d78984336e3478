"""The short form of ``benchmarks/reliability/kill.py``: a push and a table of results, ended at random moments."""

from __future__ import annotations

import random
import sys

import kill
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")


@pytest.fixture(autouse=True)
def tiny_plugin(monkeypatch):
    monkeypatch.syspath_prepend(str(kill.PLUGIN))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_nothing_is_lost_when_a_push_is_killed(tmp_path):
    task, rng, kills = kill.Round("push", tmp_path), random.Random(0), 0
    while not kills:
        kills, problems = task.disturbed(rng)
        assert problems == []
    assert "registry/models/tiny/2/manifest.json" in task.wanted


@pytest.mark.parametrize(
    ("rows", "problem"), [("a,1\nb,2\n", ""), ("a,1\n", ""), ("a,1\nb", "cut off"), ("a\nb\nc\nd\n", "too many")]
)
def test_a_row_that_was_cut_off_is_found(tmp_path, rows, problem):
    for folder, text in (("ended", rows), ("whole", "a,1\nb,2\nc,3\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / kill.LOG).write_text(text)
    assert problem in kill.rows_are_whole(tmp_path / "ended", tmp_path / "whole")


def test_lost_and_changed_files_are_found(tmp_path, monkeypatch):
    task = kill.Task(("nothing",), lambda folder: (folder / "given").write_text("x"))
    monkeypatch.setitem(kill.TASKS, "fake", task)

    def finished(task, folder, *, resumed):
        (folder / "kept").write_text("one" if not resumed else "two")
        if not resumed:
            (folder / "lost").touch()
        else:
            (folder / ".part.tmp").touch()
        return ""

    monkeypatch.setattr(kill, "finished", finished)
    monkeypatch.setattr(kill, "killed", lambda *_arguments: True)
    kills, problems = kill.Round("fake", tmp_path).disturbed(random.Random(0))
    assert kills >= 1
    assert problems == ["missing: lost", "left over: .part.tmp", "other bytes: kept"]

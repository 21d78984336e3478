"""What long work says while it runs: lines in the log by a clock that a test moves, and bars on terminals alone."""

import io
import logging
import sys

import pytest

from deepfake_core import progress
from deepfake_core.progress import duration, not_beside_a_bar, stage, track


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; ``clock.append(s)`` moves it by s seconds."""
    moves = []
    monkeypatch.setattr(progress, "monotonic", lambda: float(sum(moves)))
    return moves


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work(clock, count, seconds, **options):
    for _ in track(range(count), "finding faces", unit="files", **options):
        clock.append(seconds)


def test_long_work_logs_how_far_it_is_at_most_every_half_minute(clock, caplog):
    caplog.set_level(logging.INFO, "deepfake")
    work(clock, 900, 0.125)
    assert caplog.messages == [
        "finding faces: 40 of 900, 8 files/s, 108 s left",
        "finding faces: 280 of 900, 8 files/s, 78 s left",
        "finding faces: 520 of 900, 8 files/s, 48 s left",
        "finding faces: 760 of 900, 8 files/s, 18 s left",
        "finding faces: 900 files in 112 s",
    ]


def test_work_of_unknown_length_says_what_is_done(clock, caplog):
    caplog.set_level(logging.INFO, "deepfake")
    for _ in track(iter(range(3)), "cutting"):
        clock.append(4)
    assert caplog.messages == ["cutting: 2, 0.25/s", "cutting: 3 in 12 s"]


def test_short_work_and_work_that_logs_its_own_lines_are_silent(clock, caplog):
    caplog.set_level(logging.INFO, "deepfake")
    work(clock, 10, 0.1)
    work(clock, 10, 10, lines=False)
    assert not caplog.messages


def test_nothing_is_logged_where_nobody_asked_for_it(clock, caplog):
    caplog.set_level(logging.WARNING, "deepfake")
    work(clock, 10, 10)
    assert not caplog.messages


def test_work_that_fails_has_no_end(clock, caplog):
    caplog.set_level(logging.INFO, "deepfake")

    def failing():
        clock.append(20)
        for number in track(range(3), "finding faces"):
            clock.append(20)
            assert number, "it fails at once"

    with pytest.raises(AssertionError, match="at once"), stage("packaging"):
        failing()
    assert caplog.messages == ["packaging"]


def test_a_stage_says_when_it_begins_and_when_it_ends_if_it_was_long(clock, caplog):
    caplog.set_level(logging.INFO, "deepfake")
    with stage("landmarks"):
        clock.append(200)
    with stage("packaging"):
        clock.append(1)
    assert caplog.messages == ["landmarks", "landmarks: done in 3 min", "packaging"]


def test_a_terminal_shows_one_bar_and_does_not_repeat_it_in_lines(clock, monkeypatch):
    terminal, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    console, run_log = logging.StreamHandler(terminal), logging.StreamHandler(file)
    console.addFilter(not_beside_a_bar)
    logger = logging.getLogger("deepfake")
    monkeypatch.setattr(logger, "handlers", [console, run_log])
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setattr(logging.getLogger("deepfake.progress"), "_cache", {})
    for _ in track(range(2), "epochs"):
        work(clock, 2, 10)  # a bar within a bar, for which terminals have no room
    assert "epochs" in terminal.getvalue()
    assert "1 of 2" not in terminal.getvalue()
    assert "finding faces: 1 of 2, 0.1 files/s, 10 s left" in file.getvalue()
    assert "finding faces: 2 files in 20 s" in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119.4, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h")]
)
def test_durations_are_as_precise_as_a_reader_needs(seconds, text):
    assert duration(seconds) == text

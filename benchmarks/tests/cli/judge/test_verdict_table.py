"""The table of ``dfbench predict``: its scale, its explanations, its colours, and terminals of any width."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Iterable

import pytest
import typer
from media import PORTRAIT, ROOT
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.cli.output import text
from deepfake_bench.cli.output.streams import colours_wanted
from deepfake_bench.cli.output.writers import WRITERS
from deepfake_core.handle.results import COLUMNS, FaceResult, FrameResult, Result, to_row
from deepfake_core.inputs.boxes import Box

SCALE = "mine 1: fake from 74.4%, real below 31.1%; in between let a person look."


class Terminal(io.StringIO):
    def isatty(self):
        return True


def face(*, p_fake=0.9, **fields):
    return FaceResult(Box(12, 34, 56.4, 78), 0.9, 2.5, p_fake, "fake", **fields)


def result(source="a.jpg", verdict="fake", faces=(), **fields):
    faces = faces or ((face(),) if verdict in ("fake", "real", "unsure") else ())
    given = {"p_fake": 0.9 if faces else None, "weights": "trained", "real_below": 0.3111, "fake_from": 0.7441}
    return Result(source=source, verdict=verdict, faces=tuple(faces), detector="mine 1", **(given | fields))


def printed(results: Iterable[Result], form="table", stream=None):
    stream = stream or io.StringIO()
    with WRITERS[form](stream) as writer:
        for one in results:
            writer.row(one)
    return stream.getvalue()


@pytest.fixture
def terminal(monkeypatch):
    def show(width, results):
        monkeypatch.setattr(text.shutil, "get_terminal_size", lambda _: os.terminal_size((width, 40)))
        shown = printed(results, stream=Terminal())
        return re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()

    return show


def test_the_scale_is_below_the_table():
    head, row, empty, scale = printed([result()]).splitlines()
    assert head.split() == ["file", "verdict", "P(fake)", "faces", "box"]
    assert row.split() == ["a.jpg", "fake", "90.0%", "1", "12,34", "56×78"]
    assert (empty, scale) == ("", SCALE)


def test_each_model_has_its_own_scale_and_models_that_cannot_decide_say_so():
    unsure = result(verdict="unsure", real_below=0.0, fake_from=1.0)
    assert "mine 1: always unsure, as this model does not tell" in printed([unsure])
    below = printed([result(weights="untrained"), result()]).split("\n\n")[1].splitlines()
    assert below == ["The weights are untrained: these scores mean nothing.", SCALE]
    protected = result(verdict="unsure", faces=[face(), face()], p_fake=None, warnings=("protected: 2 of 2 faces",))
    unjudged = printed([protected, result(verdict="no_face"), result(verdict="error", error="is broken")])
    assert len(unjudged.splitlines()) == 1 + 3, "without a score there is nothing to explain"


def test_several_faces_are_explained():
    picture = result(faces=[face(), face(p_fake=0.1)])
    video = result(faces=[face(time_s=0.0), face(time_s=1.0)], frames=16)
    clips = result(faces=[face(time_s=0.0, frames=(FrameResult(0, 0.0, Box(1, 2, 3, 4)),))], frames=8)
    below = printed([result(), picture, video, clips, picture]).split("\n\n")[1].splitlines()
    assert below == [
        SCALE,
        "Several faces in a picture: the highest score counts; the box (left,top width×height) is that face.",
        "Several frames: the mean of the highest score in each counts; the box is that of the highest of all.",
        "Several clips: the mean of the highest score in each counts; the box is that of the highest of all.",
    ]
    assert "Spread: the largest minus the smallest P(fake)" in printed([result(faces=[face(spread=0.25)])])
    assert printed([picture, video]).splitlines()[2].split()[3:5] == ["2", "16"], "faces, and frames"


def test_many_files_are_counted():
    results = [result(str(number), "real") for number in range(8)]
    results += [result("x", "error", error="is broken"), result("y", "no_face"), result("z")]
    assert "11 files: 1 fake, 8 real, 1 without a face, 1 error" in printed(results).splitlines()
    assert "files:" not in printed(results[:9])


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_table_fits_the_terminal_and_keeps_the_end_of_a_path(terminal, width):
    long = "a-long-name-of-a-folder/" * 9 + "portrait of somebody.jpg"
    results = [result("short.jpg"), result(long), result("人脸.jpg", warnings=("a warning of some length " * 3,))]
    lines = terminal(width, results)
    assert all(len(line) <= width for line in lines)
    assert any(re.match(r"….*ait of somebody\.jpg +fake +90\.0%", line) for line in lines)
    assert any(line.startswith("人脸.jpg  ") for line in lines)
    assert ("box" in lines[0].split()) == (width >= 80)
    (needed,) = {int(found) for found in re.findall(r"COLUMNS=(\d+)", " ".join(lines))} or {width}
    assert "Columns without room" not in " ".join(terminal(needed, results))
    assert f"{long}  " in printed(results), "a pipe gets whole paths, in one line each"


def test_verdicts_have_colours_on_a_terminal_only(monkeypatch):
    shown = printed([result()], stream=Terminal())
    assert typer.style("fake", fg="red", bold=True) in shown
    assert "\x1b" not in printed([result()])
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert colours_wanted() is None
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert colours_wanted() is True
    monkeypatch.setenv("NO_COLOR", "1")
    assert colours_wanted() is False


def test_csv_has_the_columns_of_pandas_and_the_logit_of_its_score():
    video = result(faces=[face(time_s=0.25), face(time_s=1.0)], frames=16, p_fake=0.5, logit=0.125)
    judged, failed = csv.DictReader(io.StringIO(printed([video, result("b", "error", error="is broken")], "csv")))
    assert tuple(judged) == COLUMNS
    assert (judged["p_fake"], judged["logit"], judged["time_s"]) == ("0.500000", "0.125000", "0.250")
    assert (judged["box_width"], judged["box_height"]) == ("56.4", "78.0")
    assert (judged["real_below"], judged["fake_from"]) == ("0.3111", "0.7441")
    assert failed["error"] == "is broken"
    assert not any(failed[name] for name in ("p_fake", "logit", "x", "box_height", "time_s"))
    assert set(to_row(video)) == set(COLUMNS)


def test_the_documentation_shows_what_is_printed(tmp_path, monkeypatch):
    pytest.importorskip("deepfake_lite")
    shutil.copy(PORTRAIT, tmp_path / "photo.jpg")
    shutil.copy(PORTRAIT.parent / "plumbing" / "fake" / "view07.jpg", tmp_path / "edited.jpg")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    ((command, shown),) = re.findall(r"^\$ dfbench (.*)\n((?:.+\n|\n)+?)^```", page, re.MULTILINE)
    assert CliRunner().invoke(app, command.split()).stdout == shown

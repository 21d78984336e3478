"""Tables of the terminal: they fit its width, and no name is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.cli.output.tables import show_report
from deepfake_bench.cli.output.text import GIVE_WAY, columns, fit, pairs
from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.report import TargetCheck
from deepfake_bench.report.summary import conclusions, target_counts

WIDTHS = (60, 80, 100, 200)
LONG = "a-detector-with-a-name-of-many-words-that-somebody-chose"
SPEED = [
    ("detector", "weights", "backend", "scenario", "metric", "value", "p90", "p99", "peak MB"),
    ("lite", "trained", "onnxruntime cpu", "single_stream", "latency_ms_p50", "5.91", "6.27", "7.54", "193"),
    (LONG, "untrained", "torch cpu", "single_stream", "predict_ms_p50", "128", "140", "–", "602"),
]


def plain(text: str) -> str:
    """Return a text without its colours."""
    return Text.from_ansi(text).plain


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_fits_and_holds_every_name_in_one_piece(width):
    shown = plain(fit(SPEED, width, {}).text)
    assert max(map(len, shown.splitlines())) <= width
    for name in ("lite", LONG, "latency_ms_p50", "untrained", "5.91"):
        assert name in shown


def test_columns_give_way_in_the_stated_order_and_a_line_names_them(monkeypatch):
    assert fit(SPEED, 200, {}).left_out == ()
    assert fit(SPEED[:2], 85, {}).left_out == ("scenario",)
    assert fit(SPEED[:2], 65, {}).left_out == ("scenario", "peak MB", "p99")
    monkeypatch.setenv("COLUMNS", "85")
    last = " ".join(columns(SPEED[:2], elsewhere="--json FILE").splitlines()[2:])
    needed = int(re.search(r"COLUMNS=(\d+)", last)[1])
    assert "scenario" in last
    assert "--json FILE" in last
    assert (fit(SPEED[:2], needed, {}).left_out, fit(SPEED[:2], needed - 1, {}).left_out) == ((), ("scenario",))


def test_rows_without_room_become_paragraphs_that_leave_nothing_out():
    fitted = fit(SPEED, 60, {})
    assert fitted.left_out == ()
    assert f"\n{LONG}\n  weights: untrained" in fitted.text
    assert "p90: 140  p99: –" in re.sub(r"\n +", "  ", fitted.text)


def test_sentences_are_broken_at_spaces_and_numbers_stand_to_the_right():
    rows = [
        ("name", "ms", "reason"),
        ("a", "5.0", "the weights of this detector are not on this machine"),
        ("b", "12", ""),
    ]
    assert plain(fit(rows, 40, {}).text).splitlines() == [
        "name   ms  reason",
        "a     5.0  the weights of this detector",
        "           are not on this machine",
        "b      12",
    ]
    assert pairs([("hash", "sha256 0a"), ("b", "")]) == "hash  sha256 0a\nb"


def test_wide_letters_take_two_columns_and_controls_are_shown():
    lines = fit([("name", "n"), ("日本", "x"), ("a\x1b", "x")], 60, {}).text.splitlines()
    assert lines[1:] == ["日本   x", "a\\x1b  x"]


def test_the_documentation_states_the_order():
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    _, _, order, *_ = page.partition("## Tables")[2].split("\n\n")
    assert [" ".join(name.split()) for name in re.findall(r"`([^`]+)`", order)] == list(GIVE_WAY)


@pytest.fixture
def report(measured, report_of):
    """Make a report of two detectors, one untrained, the embedded set and a dataset of long names."""
    metrics = {name: {"value": 0.9, "low": 0.8, "high": 0.95} for name in ("auc", "eer", "fakes_found", "reals_passed")}
    source = {"real": 10, "fake": 10, "groups": 20, "no_face_rate": 0, "error_rate": 0, "unsure_rate": 0}
    source |= {"source": "a-newsroom-of-a-very-long-name-indeed", "metrics": metrics}
    info = {"layout": "image-folder", "path": "x", "samples": 20, "sha256": "0" * 64}
    plumbing = info | {"name": PLUMBING.name, "note": PLUMBING.note}
    own = info | {"name": "my-pictures", "sha256": "1" * 64}
    speed = {"latency_ms_p50": 5.0, "predict_ms_p50": 40.0}
    return report_of(
        measured("single_stream", detector=LONG, weights="untrained", metrics=speed),
        measured("single_stream", metrics=speed),
        *(measured("accuracy", metrics={"auc": 0.9}, sources=[source], dataset=data) for data in (plumbing, own)),
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_fits_and_shows_own_data_first_and_untrained_detectors_last(report, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    show_report(report)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= max(width, len(LONG))
    assert shown.index("on my-pictures") < shown.index(f"on\n{PLUMBING.name}" if width < 80 else f"on {PLUMBING.name}")
    assert shown.index("latency_ms_p50") < shown.index(LONG)
    assert "found" in shown
    assert "passed" in shown


def test_a_report_ends_with_what_follows_from_it(report, report_of):
    said = dict(conclusions(report))
    assert list(said) == ["fastest", "most accurate", "next"]
    assert "5 ms" in said["fastest"]
    assert "untrained" not in said["fastest"]
    assert "on my-pictures: AUC 0.900 [0.800, 0.950], fakes found 90%, reals passed 90%" in said["most accurate"]
    without = dict(conclusions(report.model_copy(update={"measurements": report.measurements[:3]})))
    assert "dfbench run --dataset FOLDER" in without["most accurate"]
    untrained = dict(conclusions(report.model_copy(update={"measurements": report.measurements[:1]})))
    assert "untrained" in untrained["fastest"]
    assert f"dfbench train {LONG}" in untrained["next"]


def test_targets_are_counted_in_a_line():
    def check(verdict, condition=""):
        return TargetCheck(
            metric="auc", comparison=">=", target=1, source="paper", condition=condition, verdict=verdict
        )

    absent = "not measurable here"
    assert target_counts([check("met"), check("met"), check("missed")]) == "2 met, 1 missed"
    found = [check("met"), check(absent, "GPU: A40; recipe: fast"), check(absent, "dataset: celeb-df")]
    assert target_counts(found) == "1 met, 2 need a GPU or a dataset"
    assert target_counts([*found, check(absent)]) == "1 met, 3 need a GPU, a dataset or other conditions"
    assert target_counts([check(absent)]) == "1 needs other conditions"


@pytest.mark.parametrize("width", WIDTHS)
def test_targets_are_listed_where_they_are_asked_for(measured, report_of, width, monkeypatch, capsys):
    about = {"metric": "latency_ms_p50", "comparison": "<=", "target": 30, "source": "documentation of a network"}
    checks = [
        about | {"condition": "CPU", "measured": 5.0, "verdict": "met"},
        about
        | {
            "condition": "GPU: A40",
            "verdict": "not measurable here",
            "reason": "stated for the GPU A40; measured on cpu",
        },
    ]
    report = report_of(measured("single_stream", metrics={"latency_ms_p50": 5.0}, targets=checks))
    monkeypatch.setenv("COLUMNS", str(width))
    show_report(report, targets=True)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    assert shown.index("documented targets") < shown.index("targets not measurable here")
    assert "stated for the GPU A40" in " ".join(shown.split())
    show_report(report)
    assert "documented targets: 1 met, 1 needs a GPU; see --targets" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_commands_fit_the_width(dfbench, width):
    for command in (["list"], ["data", "check", "sample"]):
        shown = CliRunner().invoke(app, command, env={"COLUMNS": str(width)}).stdout
        assert max(map(len, shown.splitlines())) <= width or "failed:" in shown, command

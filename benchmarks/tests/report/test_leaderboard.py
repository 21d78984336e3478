"""``dfbench leaderboard``: only like is ranked against like."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.records.targets import check_targets
from deepfake_bench.report.leaderboard import boards, markdown
from deepfake_core.contract.specs import Target
from deepfake_core.errors import DeepfakeError


def ranks(board) -> list[tuple[int | None, str, str]]:
    return [(place.rank, place.row.detector, place.against_first) for place in board.places]


def test_the_best_row_of_each_detector_and_backend_is_ranked(judged, report_of):
    early = report_of(judged({"one": (0.70, 0.01)}), judged({"one": (0.90, 0.01)}, detector="radar"))
    late = report_of(
        judged({"one": (0.80, 0.01)}, version="2"),
        judged({"one": (0.895, 0.01)}, detector="cvt"),
        judged({"one": (0.60, 0.01)}, backend="openvino"),
        created="2026-02-02T00:00:00+00:00",
    )
    (board,) = boards([early, late])
    assert ranks(board) == [
        (1, "radar", "the first"), (2, "cvt", "not told apart"), (3, "lite", "behind"), (4, "lite", "behind"),
    ]  # fmt: skip
    assert [place.row.version for place in board.places if place.row.detector == "lite"] == ["2", "1"]
    assert board.places[2].created.startswith("2026-02-02")


def test_what_a_detector_was_trained_on_is_not_ranked(judged, report_of):
    seen = judged({"one": (0.99, 0.01)}, detector="radar")
    seen = seen.model_copy(update={"sources": [one.model_copy(update={"seen_groups": 3}) for one in seen.sources]})
    (board,) = boards([report_of(judged({"one": (0.8, 0.01)}), seen)])
    assert ranks(board) == [(1, "lite", "the first"), (None, "radar", "not ranked: seen in training")]
    target = Target(metric="auc", scenario="accuracy", comparison=">=", value=0.5, source="us")
    (check,) = check_targets([target], seen)
    assert (check.verdict, check.reason[:16]) == ("not measurable here", "seen in training")


def test_the_mean_over_sources_has_an_interval(judged, report_of):
    (board,) = boards([report_of(judged({"one": (0.8, 0.03), "two": (0.6, 0.04)}))])
    figure = board.places[0].figure
    assert figure.value == pytest.approx(0.7)
    assert figure.high - figure.value == pytest.approx(0.05 / 2)


def test_only_rows_on_the_same_bytes_are_ranked_against_each_other(judged, report_of):
    same = judged({"one": (0.7, 0.01)}, detector="radar", data="renamed")
    other = judged({"one": (0.9, 0.01)}, detector="cvt", sha256="b" * 64)
    found = boards([report_of(judged({"one": (0.8, 0.01)}), same, other)])
    assert [ranks(board) for board in found] == [
        [(1, "lite", "the first"), (2, "radar", "behind")], [(1, "cvt", "the first")],
    ]  # fmt: skip


def test_less_is_better_for_times_on_the_same_machine(measured, report_of):
    first = report_of(
        measured(metrics={"latency_ms_p50": 9.0}),
        measured(metrics={"latency_ms_p50": 5.0}, detector="radar"),
        measured(metrics={"latency_ms_p50": 1.0}, detector="new", weights="untrained"),
    )
    second = report_of(measured(metrics={"latency_ms_p50": 1.0}, detector="elsewhere"), cpu="CPU two")
    found = boards([first, second], "latency_ms_p50")
    assert [[(rank, name) for rank, name, _ in ranks(board)] for board in found] == [
        [(1, "radar"), (2, "lite"), (None, "new")], [(1, "elsewhere")],
    ]  # fmt: skip


def test_untrained_accuracy_is_not_there(judged, report_of):
    rows = (judged({"one": (0.8, 0.01)}), judged({"one": (0.99, 0.01)}, detector="new", weights="untrained"))
    (board,) = boards([report_of(*rows)])
    assert ranks(board) == [(1, "lite", "the first")]


def test_equal_figures_share_a_rank(judged, report_of):
    rows = [judged({"one": (auc, 0.01)}, detector=name) for name, auc in (("a", 0.8), ("b", 0.8), ("c", 0.7))]
    assert [place.rank for place in boards([report_of(*rows)])[0].places] == [1, 1, 3]


@pytest.mark.parametrize(
    ("metric", "said"), [("best_batch", "neither more nor less"), ("auc_lowest", "they have: auc")]
)
def test_a_metric_that_cannot_be_ranked_is_an_error(judged, report_of, metric, said):
    with pytest.raises(DeepfakeError, match=said):
        boards([report_of(judged({"one": (0.8, 0.01)}))], metric)


def test_the_command_prints_every_format_and_escapes_names(judged, report_of, tmp_path):
    report_of(judged({"one": (0.8, 0.01)}, data="<script>|")).write(tmp_path / "report.json")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["leaderboard", str(tmp_path / "report.json"), *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "0.800 [0.790, 0.810]" in run()
    assert "0.800 [0.790, 0.810]" in run("--format", "markdown")
    html = run("--format", "html")
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    (board,) = json.loads(run("--format", "json"))
    assert board["places"][0] | {"rank": 1, "detector": "lite", "value": 0.8} == board["places"][0]
    assert "<script" not in markdown(boards([report_of(judged({"one": (0.8, 0.01)}, data="<script>"))]))


def test_times_beside_which_other_work_ran_are_listed_without_a_rank(measured, report_of):
    def row(detector, ms, share):
        return measured(detector=detector, metrics={"latency_ms_p50": ms}, others_share=share)

    rows = [row("lite", 1.0, 0.5), row("lite", 9.0, 0.01), row("radar", 2.0, 0.23), row("cvt", 30.0, None)]
    (board,) = boards([report_of(*rows)], "latency_ms_p50")
    busy = "not ranked: other work used 23 % of the processors; repeat on an idle machine"
    assert ranks(board) == [(1, "lite", "the first"), (2, "cvt", ""), (None, "radar", busy)]
    assert board.places[0].figure.value == 9.0, "the slower row, which nothing disturbed"
    assert "radar (untrained)" not in markdown([board])


def test_other_work_changes_no_accuracy(judged, report_of):
    (board,) = boards([report_of(judged({"one": (0.8, 0.03)}, others_share=0.9))])
    assert ranks(board) == [(1, "lite", "the first")]


def test_the_plumbing_check_comes_last(judged, report_of):
    plumbing = judged({"one": (0.8, 0.03)}, data="plumbing-check", sha256="b" * 64)
    found = boards([report_of(plumbing, judged({"one": (0.8, 0.03)}))])
    assert [board.places[0].row.dataset.name for board in found] == ["faces", "plumbing-check"]

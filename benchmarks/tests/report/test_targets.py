"""Documented targets: met, missed, or not measurable here and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.report import DatasetInfo, Measurement
from deepfake_bench.records.targets import board, check_targets, documented
from deepfake_bench.records.times import others_line, unknown_line
from deepfake_bench.runner.plan import left_out, plan
from deepfake_core.contract.specs import Target

DEVICES = ("cpu", "auto", "cuda:1")


def target(condition: str = "", value: float = 12.0, comparison: str = "<=", metric: str = "latency_ms_p50") -> Target:
    record = {"metric": metric, "comparison": comparison, "value": value, "condition": condition}
    return Target(scenario="single_stream", source="002-10", **record)


def measurement(**changes: object) -> Measurement:
    values = {
        "detector": "lite",
        "backend": "onnxruntime",
        "device": "cpu",
        "threads": 2,
        "scenario": "single_stream",
        "status": "measured",
        "metrics": {"latency_ms_p50": 10.0, "undefined": None},
        **changes,
    }
    return Measurement.model_validate(values)


@pytest.mark.parametrize(
    ("comparison", "value", "verdict"),
    [("<=", 12.0, "met"), ("<=", 10.0, "met"), ("<=", 9.9, "missed"), (">=", 10.0, "met"), (">=", 10.1, "missed")],
)
def test_a_number_is_compared(comparison, value, verdict):
    (check,) = check_targets([target(value=value, comparison=comparison)], measurement())
    assert (check.verdict, check.measured, check.target, check.source) == (verdict, 10.0, value, "002-10")
    assert check.reason == ""


def test_a_target_may_be_about_one_source():
    sources = [
        {"source": name, "real": 1, "fake": 1, "groups": 2, "no_face_rate": 0, "error_rate": 0, "unsure_rate": 0,
         "metrics": {"latency_ms_p50": {"value": value}}}
        for name, value in (("a", 11.0), ("b", None))
    ]  # fmt: skip
    row = measurement(sources=sources)
    absent = "not measurable here"
    for name, verdict, value in (("a", "met", 11.0), ("b", absent, None), ("c", absent, None)):
        (check,) = check_targets([target(f"source: {name}")], row)
        assert (check.verdict, check.measured) == (verdict, value)
    (check,) = check_targets([target("CPU; source: a", value=10.5)], row)
    assert check.verdict == "missed"


@pytest.mark.parametrize(
    ("condition", "changes", "reason"),
    [
        ("2 CPU cores", {}, ""),
        ("2 CPU cores", {"threads": 8}, "stated for 2 CPU cores; measured with 8 threads on cpu"),
        ("2 CPU cores", {"device": "cuda: NVIDIA A40"}, "stated for 2 CPU cores; measured with 2 threads on cuda"),
        ("CPU", {}, ""),
        ("CPU", {"device": "cuda: NVIDIA A40"}, "stated for the CPU"),
        ("GPU: A40", {"device": "cuda: NVIDIA A40"}, ""),
        ("GPU: A40", {"device": "cuda: NVIDIA H200"}, "stated for the GPU A40; measured on cuda: NVIDIA H200"),
        ("GPU: A40", {}, "stated for the GPU A40; measured on cpu"),
        ("dataset: celeb-df", {}, "stated for the dataset celeb-df; measured on none"),
        ("recipe: fast", {"conditions": {"recipe": "fast"}}, ""),
        ("recipe: fast", {"conditions": {"recipe": "full"}}, "stated for the recipe fast; measured with full"),
        ("recipe: fast", {}, "stated for the recipe fast; measured with none"),
        ("CPU; in the shade", {}, "stated for: in the shade"),
        ("", {"status": "skipped", "reason": "untrained weights", "metrics": {}}, "untrained weights"),
        ("", {"status": "failed", "reason": "ended by SIGKILL", "metrics": {}}, "ended by SIGKILL"),
        ("", {"metrics": {"latency_ms_p50": None}}, "latency_ms_p50 has no value here"),
    ],
)
def test_a_target_counts_only_under_its_condition(condition, changes, reason):
    (check,) = check_targets([target(condition)], measurement(**changes))
    assert check.reason.startswith(reason)
    assert (check.verdict == "not measurable here") == bool(reason)


@pytest.mark.parametrize(
    ("metric", "share", "verdict"),
    [
        ("latency_ms_p50", None, "met"),
        ("latency_ms_p50", 0.05, "met"),
        ("latency_ms_p50", 0.06, "not judged"),
        ("files_per_s", 0.23, "not judged"),
        ("gpu_over_cpu", 0.23, "not judged"),
        ("file_mb", 0.23, "met"),
        ("auc", 1.0, "met"),
    ],
)
def test_no_target_about_time_is_judged_beside_other_work(metric, share, verdict):
    (check,) = check_targets([target(metric=metric)], measurement(metrics={metric: 10.0}, others_share=share))
    assert (check.verdict, check.measured, check.is_decided) == (verdict, 10.0, verdict == "met")
    said = f"other work used {100 * (share or 0):.0f} % of the processors; repeat on an idle machine"
    assert check.reason == (said if verdict == "not judged" else "")


def test_an_obstacle_goes_before_other_work():
    (check,) = check_targets([target("GPU: A40")], measurement(others_share=0.5))
    assert (check.verdict, check.reason) == (
        "not measurable here",
        "stated for the GPU A40; measured on cpu",
    )


def test_a_board_prefers_an_idle_round_and_then_one_that_could_be_repeated():
    busy, idle = judged(target("CPU"), others_share=0.5), judged(target("CPU"), others_share=0.0)
    elsewhere = judged(target("CPU"), device="cuda: A40")
    assert [check.verdict for _, check in board([elsewhere, busy, idle])] == ["met"]
    assert [check.verdict for _, check in board([elsewhere, busy])] == ["not judged"]


def test_one_sentence_says_how_busy_the_machine_was():
    rows = [measurement(others_share=share) for share in (0.01, 0.12, 0.234)]
    assert others_line(rows) == (
        "Other work used 12 to 23 % of the processors during 2 of 3 measurements of time, whose targets are not "
        "judged: repeat on an idle machine."
    )
    assert others_line(rows[:2]).startswith("Other work used 12 % of the processors during 1 of 2")
    assert others_line([rows[0], measurement(metrics={"auc": 0.9}, others_share=0.9)]) == ""
    assert unknown_line(rows) == unknown_line([]) == ""
    assert "was not measured" in unknown_line([measurement(others_share=None)])


def test_a_target_for_a_dataset_is_judged_on_that_dataset():
    info = DatasetInfo(name="celeb-df", layout="image-folder", path="x", samples=2, sha256="0" * 64)
    (check,) = check_targets([target("dataset: celeb-df")], measurement(dataset=info))
    assert check.verdict == "met"


def test_other_scenarios_are_left_alone():
    assert check_targets([target()], measurement(scenario="offline")) == []


def judged(target: Target, **changes: object) -> Measurement:
    row = measurement(**changes)
    return row.model_copy(update={"targets": check_targets([target], row)})


def on(name: str) -> DatasetInfo:
    return DatasetInfo(name=name, layout="image-folder", path="x", samples=2, sha256="0" * 64)


def test_a_board_shows_the_measurement_that_could_judge():
    wanted = target("dataset: celeb-df")
    rows = [judged(wanted, dataset=on("plumbing-check")), judged(wanted, dataset=on("celeb-df"))]
    ((row, check),) = board(rows)
    assert (row.dataset, check.verdict) == (on("celeb-df"), "met")
    ((row, check),) = board(rows[:1])
    assert (row.dataset, check.verdict) == (on("plumbing-check"), "not measurable here")


def test_of_several_rounds_a_board_shows_the_one_in_the_middle():
    rows = [judged(target(), metrics={"latency_ms_p50": value}) for value in (30.0, 10.0, 11.0)]
    assert [check.measured for _, check in board(rows)] == [11.0]


def test_a_board_has_a_line_for_each_backend_and_each_dataset_that_any_target_is_judged_on():
    rows = [judged(target(), backend=name) for name in ("onnxruntime", "openvino")]
    rows += [judged(target(), dataset=on(name)) for name in ("a", "b")]
    shown = [(row.backend, row.dataset.name if row.dataset else "") for row, _ in board(rows)]
    assert sorted(shown) == [("onnxruntime", ""), ("onnxruntime", "a"), ("onnxruntime", "b"), ("openvino", "")]


def test_a_target_says_where_it_is_documented():
    (check,) = check_targets([replace(target("CPU"), note="forward pass")], measurement())
    assert documented(check) == "002-10: forward pass (CPU)"
    (check,) = check_targets([target()], measurement())
    assert documented(check) == "002-10"


def test_scenarios_that_a_run_leaves_out_show_their_targets():
    rows = list(left_out(plan(["radar", "radar"], None, ["single_stream", "cold_start", "accuracy"], [PLUMBING])))
    assert [(row.detector, row.scenario, row.status) for row in rows] == [("radar", "train_throughput", "skipped")]
    rates = {"images_per_s", "images_per_s_compiled", "pairs_over_ready", "store_over_ready"}
    assert {check.metric for check in rows[0].targets} == {*rates, "gpu_memory_gb"}
    assert {check.verdict for check in rows[0].targets} == {"not measurable here"}
    assert "dfbench run --scenario train_throughput" in rows[0].reason
    assert not list(left_out(plan(["some.onnx"], None, None, [])))


def test_training_is_timed_by_default_on_an_accelerator_alone():
    planned = {device: {job.scenario for job in plan(["radar"], None, None, [], device=device)} for device in DEVICES}
    assert planned["cuda:1"] - planned["cpu"] == {"train_throughput"}
    assert planned["auto"] == planned["cpu"]

"""Documented targets: met, missed, or not measurable here and why."""

from __future__ import annotations

import pytest

from deepfake_bench.report import DatasetInfo, Measurement
from deepfake_bench.targets import check_targets
from deepfake_core.specs import Target


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


def test_a_target_for_a_dataset_is_judged_on_that_dataset():
    info = DatasetInfo(name="celeb-df", layout="image-folder", path="x", samples=2, sha256="0" * 64)
    (check,) = check_targets([target("dataset: celeb-df")], measurement(dataset=info))
    assert check.verdict == "met"


def test_other_scenarios_are_left_alone():
    assert check_targets([target()], measurement(scenario="offline")) == []

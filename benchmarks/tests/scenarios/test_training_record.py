"""What a package keeps of its training stands beside what is measured."""

from __future__ import annotations

from types import SimpleNamespace

from deepfake_bench.records.job import Job
from deepfake_bench.report.figures import direction
from deepfake_bench.scenarios import training_record
from deepfake_bench.scenarios.catalogue import SCENARIOS

KEPT = {
    "validation": {"auc": 0.9, "auc_mean": 0.88, "auc_swaps": 0.8, "val_loss": 0.3, "precision": None},
    "calibration": {"ece_before": 0.1, "ece_after": 0.03},
    "false_alarms": {"a": {"share": 0.01}, "b": {"share": 0.04}},
    "leave_one_out": {"means": {"auc": {"mean": 0.81, "worst": 0.7}, "false_fake": {"mean": 0.02, "worst": 0.09}}},
    "shortcuts": {"data": {}, "drawn": {"a": {"auc": 0.55, "together": None}, "b": {"auc": 0.61, "together": 0.7}}},
}


def recorded(**metrics: object) -> dict[str, float]:
    detector = SimpleNamespace(manifest=SimpleNamespace(metrics=metrics))
    return training_record.measure(detector, Job(detector="x", scenario="training_record")).metrics


def test_the_figures_of_the_package_are_metrics() -> None:
    assert recorded(**KEPT) == {
        "auc_validation": 0.9,
        "auc_validation_mean": 0.88,
        "auc_validation_swaps": 0.8,
        "ece_validation": 0.03,
        "ece_validation_before": 0.1,
        "false_fake_validation_worst": 0.04,
        "auc_left_out": 0.81,
        "auc_left_out_worst": 0.7,
        "false_fake_left_out": 0.02,
        "false_fake_left_out_worst": 0.09,
        "shortcut_strongest": 0.61,
        "shortcut_together": 0.7,
    }


def test_figures_that_a_package_does_not_keep_are_left_out() -> None:
    assert recorded() == {}
    assert recorded(shortcuts={"data": None, "drawn": None}, leave_one_out={}) == {}


def test_a_report_knows_which_way_is_better() -> None:
    found = recorded(**KEPT)
    less = ("ece", "false_fake", "shortcut")
    assert all(direction(name) == (-1 if name.startswith(less) else 1) for name in found)
    assert SCENARIOS["training_record"].headline in found

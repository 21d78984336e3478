"""What a package keeps of its training: on its validation, and on sources that short runs were trained without.

Nothing is measured here. The scenario puts these figures beside the measured ones, so that targets can name them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_core.handle.predictor import Predictor

Metrics = Mapping[str, Any]


def measure(detector: Predictor, _: Job) -> ScenarioResult:
    """Read the figures of the manifest; those that it does not keep are left out."""
    kept = detector.manifest.metrics
    found = [*_validation(kept), *_left_out(kept), *_shortcuts(kept)]
    return ScenarioResult(
        metrics={name: value for name, value in found if isinstance(value, float | int) and math.isfinite(value)},
        conditions={
            "validation": "held-out groups of the sources of training, which selected and calibrated the weights",
            "left_out": "sources that short runs of the recipe were trained without; mean over them, and the worst",
            "false_fake": "share of real faces with the verdict fake",
        },
    )


def _validation(kept: Metrics) -> Iterator[tuple[str, Any]]:
    for name, value in kept.get("validation", {}).items():
        if name == "auc" or name.startswith("auc_"):
            yield f"auc_validation{name.removeprefix('auc')}", value
    if calibration := kept.get("calibration"):
        yield "ece_validation", calibration["ece_after"]
        yield "ece_validation_before", calibration["ece_before"]
    if alarms := kept.get("false_alarms"):
        yield "false_fake_validation_worst", max(share["share"] for share in alarms.values())


def _left_out(kept: Metrics) -> Iterator[tuple[str, Any]]:
    for name, mean in kept.get("leave_one_out", {}).get("means", {}).items():
        yield f"{name}_left_out", mean["mean"]
        yield f"{name}_left_out_worst", mean["worst"]


def _shortcuts(kept: Metrics) -> Iterator[tuple[str, Any]]:
    """Yield the AUC of the strongest shortcut in the samples as training draws them, and of all numbers together."""
    drawn = (kept.get("shortcuts") or {}).get("drawn") or {}
    for name, key in (("shortcut_strongest", "auc"), ("shortcut_together", "together")):
        if known := [source[key] for source in drawn.values() if source[key] is not None]:
            yield name, max(known)

"""What the figures of a report mean: whether more or less is better, and means and differences with intervals."""

from __future__ import annotations

import math

from deepfake_bench.records.report import OF_VIDEOS, Estimate, Measurement
from deepfake_bench.scenarios.catalogue import SCENARIOS

MEAN = "mean over sources"
_LESS_IS_BETTER = ("eer", "ece", "brier", "parameters", "false_fake", "shortcut")
_MORE_IS_BETTER = (
    "auc",
    "video_auc",
    "average_precision",
    "tpr_at_",
    "accuracy",
    "balanced_accuracy",
    "fakes_found",
    "reals_passed",
    "recoded_change",
    "mild_change",
    "found_left_out",
    "called_fake",
    "images_per_s",
    "files_per_s",
    "requests_per_s",
    "faithfulness_best",
)


def direction(metric: str) -> int:
    """Return 1 where more of a metric is better, -1 where less is, 0 where neither can be said."""
    if metric.startswith(_LESS_IS_BETTER) or metric.endswith("_mb") or "_ms" in metric:
        return -1
    return 1 if metric.startswith(_MORE_IS_BETTER) else 0


def meaningful(row: Measurement) -> bool:
    """Return whether the figures of a measurement mean something: accuracy of untrained weights does not."""
    scenario = SCENARIOS.get(row.scenario)
    return row.status == "measured" and not (
        row.weights == "untrained" and (scenario is None or scenario.needs_training)
    )


def mean_estimate(row: Measurement, metric: str, variant: str = "") -> Estimate:
    """Return the mean of a measure over the sources in which it is defined, with an interval from theirs.

    Sources are drawn independently of each other, so the half-widths of their intervals add up in quadrature. Where a
    source has no interval, the mean has none.
    """
    found = averaged(row, metric, variant)
    if not found:
        return Estimate(value=None)
    value = math.fsum(item.value for item in found if item.value is not None) / len(found)
    widths = [half_widths(item) for item in found]
    known = [pair for pair in widths if pair is not None]
    if len(known) < len(found):
        return Estimate(value=value)
    below, above = (math.hypot(*side) / len(found) for side in zip(*known, strict=True))
    return Estimate(value=value, low=value - below, high=value + above)


def averaged(row: Measurement, metric: str, variant: str = "") -> list[Estimate]:
    """Return a measure of each source in which it is defined; of pictures alone, where there are videos too."""
    return [
        source.metrics[metric]
        for source in row.sources
        if source.variant == variant
        and metric in source.metrics
        and source.metrics[metric].value is not None
        and not (f"videos_{metric}" in row.metrics and source.source.endswith(OF_VIDEOS))
    ]


def half_widths(item: Estimate) -> tuple[float, float] | None:
    """Return how far an interval reaches below and above its value, both at least 0; ``None`` without an interval.

    An interval of percentiles need not hold the value itself.
    """
    if item.value is None or item.low is None or item.high is None:
        return None
    return max(0.0, item.value - item.low), max(0.0, item.high - item.value)


def difference(before: Estimate, after: Estimate) -> Estimate:
    """Return ``after`` less ``before``, with an interval from theirs (MOVER: Zou & Donner 2008).

    Both are taken as independent. Two detectors on the same samples agree more than that, so the interval is rather
    too wide than too narrow.
    """
    if before.value is None or after.value is None:
        return Estimate(value=None)
    value = after.value - before.value
    first, second = half_widths(before), half_widths(after)
    if first is None or second is None:
        return Estimate(value=value)
    (below, above), (after_below, after_above) = first, second
    return Estimate(
        value=value,
        low=value - math.hypot(after_below, above),
        high=value + math.hypot(after_above, below),
    )

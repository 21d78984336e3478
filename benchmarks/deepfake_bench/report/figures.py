"""What the figures of a report mean: which way is better, how they are written, and the mean over sources."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from deepfake_bench.records.report import Estimate, Measurement, Report
from deepfake_bench.scenarios.catalogue import SCENARIOS

MEAN = "mean over sources"
SIGNS = {"<=": "≤", ">=": "≥"}
CSV_COLUMNS = (
    "detector",
    "version",
    "weights",
    "backend",
    "device",
    "threads",
    "scenario",
    "dataset",
    "source",
    "variant",
    "metric",
    "value",
    "low",
    "high",
)
ACCURACY = {
    "auc": "AUC [95 %]",
    "average_precision": "AP",
    "eer": "EER",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
    "tpr_at_5pct_fpr": "TPR at 5 % FPR",
    "balanced_accuracy": "balanced accuracy",
    "fakes_found": "fakes found",
    "reals_passed": "reals passed",
    "ece": "ECE",
    "brier": "Brier",
}
"""Measures of accuracy and the heads of their columns; a table has those for which it has room."""
_LESS_IS_BETTER = ("eer", "ece", "brier", "parameters")
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
    "images_per_s",
    "files_per_s",
    "requests_per_s",
    "faithfulness_best",
)


def direction(metric: str) -> int:
    """1 where more of a metric is better, -1 where less is, 0 where neither can be said."""
    if metric in _LESS_IS_BETTER or metric.endswith("_mb") or "_ms" in metric:
        return -1
    return 1 if metric.startswith(_MORE_IS_BETTER) else 0


def short_name(detector: str) -> str:
    """A detector's name for readers: without the folders of a path."""
    return Path(detector).name or detector


def device_kind(device: str) -> str:
    """``cpu``, or ``cuda`` whatever the accelerator is called."""
    return device.partition(":")[0]


def conditions_of(row: Measurement) -> tuple[str, str, str]:
    """Backend, device and threads in words; empty where they are not known."""
    threads = f"{row.threads} thread{'s' if row.threads != 1 else ''}" if row.threads else ""
    return row.backend, row.device, threads


def who(row: Measurement) -> str:
    """``lite (onnxruntime, cpu, 2 threads)``."""
    return f"{short_name(row.detector)} ({', '.join(filter(None, conditions_of(row)))})"


def meaningful(row: Measurement) -> bool:
    """Whether the figures mean something: accuracy of untrained weights does not."""
    scenario = SCENARIOS.get(row.scenario)
    return row.status == "measured" and not (
        row.weights == "untrained" and (scenario is None or scenario.needs_training)
    )


def mean_estimate(row: Measurement, metric: str, variant: str = "") -> Estimate:
    """Mean of a measure over the sources in which it is defined, its interval from theirs.

    Sources are drawn apart from each other, so the reaches of their intervals add up in quadrature. Where one has no
    interval, the mean has none.
    """
    found = [source.metrics[metric] for source in row.sources if source.variant == variant and metric in source.metrics]
    found = [item for item in found if item.value is not None]
    if not found:
        return Estimate(value=None)
    value = math.fsum(item.value for item in found if item.value is not None) / len(found)
    reaches = [reach(item) for item in found]
    known = [pair for pair in reaches if pair is not None]
    if len(known) < len(found):
        return Estimate(value=value)
    below, above = (math.hypot(*side) / len(found) for side in zip(*known, strict=True))
    return Estimate(value=value, low=value - below, high=value + above)


def reach(item: Estimate) -> tuple[float, float] | None:
    """How far an interval reaches below and above its value; a percentile interval need not hold the value itself."""
    if item.value is None or item.low is None or item.high is None:
        return None
    return max(0.0, item.value - item.low), max(0.0, item.high - item.value)


def difference(before: Estimate, after: Estimate) -> Estimate:
    """``after`` less ``before``, with an interval from theirs (MOVER: Zou & Donner 2008), taken as independent.

    Two detectors judged on the same samples agree more than that, so the interval is rather too wide than too narrow.
    """
    if before.value is None or after.value is None:
        return Estimate(value=None)
    value = after.value - before.value
    first, second = reach(before), reach(after)
    if first is None or second is None:
        return Estimate(value=value)
    (below, above), (after_below, after_above) = first, second
    return Estimate(
        value=value,
        low=value - math.hypot(after_below, above),
        high=value + math.hypot(after_above, below),
    )


def short(value: float | None) -> str:
    """Three significant digits, without an exponent."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def number(value: float | None, form: str = ".3f") -> str:
    """A number for a table; a dash where it is undefined."""
    return "–" if value is None or math.isnan(value) else format(value, form)


def interval(estimate: Estimate, form: str = ".3f") -> str:
    """A measure with its interval, where it has one."""
    if estimate.low is None or estimate.high is None:
        return number(estimate.value, form)
    return f"{number(estimate.value, form)} [{number(estimate.low, form)}, {number(estimate.high, form)}]"


def csv_text(reports: Iterable[Report]) -> str:
    """Reports as CSV, one row for each metric: those of a whole measurement, then those of its sources."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for report in reports:
        for row in report.measurements:
            dataset = row.dataset.name if row.dataset else ""
            first = (
                row.detector,
                row.version,
                row.weights,
                row.backend,
                row.device,
                row.threads,
                row.scenario,
                dataset,
            )
            for source, variant, metric, item in _all(row):
                numbers = ("" if number is None else repr(number) for number in (item.value, item.low, item.high))
                writer.writerow((*first, source, variant, metric, *numbers))
    return stream.getvalue()


def _all(row: Measurement) -> Iterator[tuple[str, str, str, Estimate]]:
    """Source, variant, metric and value of every figure that means something."""
    if not meaningful(row):
        return
    for metric, value in row.metrics.items():
        yield "", "", metric, Estimate(value=value)
    for source in row.sources:
        for metric, item in source.metrics.items():
            yield source.source, source.variant, metric, item

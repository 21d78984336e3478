"""Two reports compared, figure by figure: a change told from noise.

Times and memory are compared by their raw samples, see :mod:`deepfake_bench.report.time_ratios`; accuracies by their
bootstrap intervals. What was measured on another machine or on other data is not comparable, nor are times beside which
other work took more than 5 % of the processors; the reason is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from deepfake_bench.records.report import Estimate, Machine, Measurement, Report, SourceAccuracy
from deepfake_bench.records.times import busy_rounds
from deepfake_bench.report.figures import MEAN, difference, direction, mean_estimate, meaningful
from deepfake_bench.report.labels import short_name
from deepfake_bench.report.time_ratios import (
    SEVERAL,
    THRESHOLD,
    Ratio,
    Runs,
    Verdict,
    block_medians,
    least_effect,
    ratio_of_medians,
    verdict_on_times,
)

Key: TypeAlias = tuple[str, str, str, int | None, str, str]

LEAST_DIFFERENCE = 0.005
"""Least change of an accuracy that counts."""
FEWEST_TIMES = 2
"""Fewest raw times that say anything about noise."""
REGRESSIONS = ("slower", "worse")
BY_ITSELF = "a machine may do as much between two runs; measure in turns: dfbench run --repeat 20 --beside PYTHON"
"""Why a difference whose interval excludes 1 is still no change."""
_NOT_COMPARED = ("warm_up_ms", "response_ms_within_p99")
"""Samples of what is not steady, and of a load that each report found for itself."""
_SIZES = ("file_mb", "parameters")
_MEMORY = "peak_rss_mb"
_TRADED = ("fakes_found", "reals_passed")
_ABOUT_DATA = ("untrained_probe",)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure in both reports.

    Attributes:
        before: Measurement of the first report; of the second one where the first has none.
        metric: Name of the figure; empty where the whole measurement is meant.
        values: The figure before and after.
        change: after / before - 1 for times, rates and sizes; after - before for accuracies.
        verdict: Whether the figure changed.
        reason: Why it is not comparable, or what failed.
        source: Source of the dataset; empty for the whole measurement.
        variant: How the images were changed before they were scored.
    """

    before: Measurement
    metric: str
    values: tuple[float | None, float | None]
    change: Estimate
    verdict: Verdict
    reason: str = ""
    source: str = ""
    variant: str = ""


def compare(before: Report, after: Report, threshold: float | None = None) -> list[Comparison]:
    """Return a comparison of every figure that means something in either report.

    Measurements are paired by detector, backend, kind of device, threads, scenario and name of the dataset.

    Args:
        before: Report to compare with.
        after: Report in question.
        threshold: Least relative change of a time, rate or size that counts; by default what the runs allow, see
            :func:`~deepfake_bench.report.time_ratios.least_effect`.
    """
    first, second = _by_key(before), _by_key(after)
    found: list[Comparison] = []
    for key, rows in first.items():
        if key in second:
            found += _compare_rows(rows, second[key], (before, after), threshold)
        else:
            found.append(_gone(rows[0], after))
    added = (rows[0] for key, rows in second.items() if key not in first)
    return [*found, *(_whole(row, "not comparable", "only in the second report") for row in added)]


def _by_key(report: Report) -> dict[Key, list[Measurement]]:
    """Return the measurements that have meaningful figures; several with one key are repetitions."""
    found: dict[Key, list[Measurement]] = {}
    for row in report.measurements:
        if meaningful(row) and row.scenario not in _ABOUT_DATA:
            dataset = row.dataset.name if row.dataset else ""
            device_kind = row.device.partition(":")[0]  # cpu, or cuda whatever the accelerator is called
            key = _name(row), row.backend, device_kind, row.threads, row.scenario, dataset
            found.setdefault(key, []).append(row)
    return found


def _name(row: Measurement) -> str:
    """Return a detector's name without its version: another version of it is what one wants to compare."""
    return short_name(row.detector).partition("@")[0]


def _gone(row: Measurement, after: Report) -> Comparison:
    """Compare a measurement of the first report alone; it is worse when it failed in the second one."""
    for other in after.measurements:
        same = _name(other) == _name(row) and other.scenario == row.scenario
        if same and other.status != "measured":
            return _whole(
                row, "worse" if other.status == "failed" else "not comparable", f"{other.status}: {other.reason}"
            )
    return _whole(row, "not comparable", "only in the first report")


def _whole(row: Measurement, verdict: Verdict, reason: str) -> Comparison:
    return Comparison(row, "", (None, None), Estimate(value=None), verdict, reason)


def _compare_rows(
    rows_before: list[Measurement],
    rows_after: list[Measurement],
    reports: tuple[Report, Report],
    threshold: float | None,
) -> Iterator[Comparison]:
    before, after = rows_before[0], rows_after[0]
    in_turns = bool(reports[0].turns) and reports[0].turns == reports[1].turns
    other = _other_data(before, after)
    if other:
        yield _whole(before, "not comparable", other)
        return
    yield from _sizes(before, after, THRESHOLD if threshold is None else threshold)
    elsewhere = _other_machine(before, after, (reports[0].machine, reports[1].machine))
    busy = busy_rounds(rows_before) or busy_rounds(rows_after)
    series = [[_series(row) for row in rows] for rows in (rows_before, rows_after)]
    for name in series[0][0]:
        found = [[each[name] for each in side if name in each] for side in series]
        if found[1]:
            incomparable = elsewhere or (busy if name != _MEMORY else "")
            yield _timed(before, name, (found[0], found[1]), incomparable, threshold, in_turns=in_turns)
    yield from _accuracies(before, after)


def _other_data(before: Measurement, after: Measurement) -> str:
    """Return why the data differ; empty where they do not."""
    hashes = [row.dataset.sha256 if row.dataset else "" for row in (before, after)]
    if hashes[0] == hashes[1]:
        return ""
    return f"other data under the same name: sha256 {hashes[0][:12]} and {hashes[1][:12]}"


def _other_machine(before: Measurement, after: Measurement, machines: tuple[Machine, Machine]) -> str:
    """Return why the machines differ; empty where they do not."""
    first, second = machines
    if before.device != after.device:
        return f"another device: {before.device} and {after.device}"
    if (first.cpu, first.cores, first.allowance) != (second.cpu, second.cores, second.allowance):
        described = [f"{machine.cpu}, {machine.allowance} of {machine.cores} CPUs" for machine in machines]
        return f"another machine: {' and '.join(described)}"
    if first.cpu_id and second.cpu_id and first.cpu_id != second.cpu_id:
        return f"another processor of the same name: {first.cpu_id} and {second.cpu_id}"
    return ""


def _series(row: Measurement) -> dict[str, list[float]]:
    """Return raw samples by name; of the batches of a throughput, the ms per image of the best batch alone."""
    peak = row.metrics.get(_MEMORY)
    memory = {_MEMORY: [peak]} if peak else {}
    if "images_per_s" in row.metrics and (best := row.metrics.get("best_batch")):
        taken = row.samples.get(f"batch_{best:.0f}_ms", [])
        return memory | ({"images_per_s": [ms / best for ms in taken]} if taken else {})
    return memory | {name: samples for name, samples in row.samples.items() if samples and name not in _NOT_COMPARED}


def _timed(
    row: Measurement, name: str, runs: tuple[Runs, Runs], elsewhere: str, threshold: float | None, *, in_turns: bool
) -> Comparison:
    """Compare times, which are the better the lower; a rate is compared as the inverse of a time."""
    size = name == _MEMORY
    metric = name if size or name == "images_per_s" else f"{name}_p50"
    ratio = ratio_of_medians(*runs, in_turns=in_turns)
    medians = [float(np.median(block_medians(side))) for side in runs]
    shown = ratio
    if name == "images_per_s":
        medians, shown = [1e3 / median for median in medians], ratio.inverse()
    fewest = min(sum(map(len, side)) for side in runs)
    if fewest < FEWEST_TIMES and not size and not elsewhere:
        elsewhere = f"a single time says nothing about noise: {SEVERAL}"
    verdict: Verdict = "not comparable"
    reason = elsewhere
    if not elsewhere:
        least = least_effect(runs, size=size, in_turns=in_turns) if threshold is None else threshold
        verdict, reason = verdict_on_times(*runs, least, size=size, in_turns=in_turns)
        if least > THRESHOLD and verdict == "no change" != ratio.verdict(THRESHOLD, size=size):
            reason = BY_ITSELF
    return Comparison(row, metric, (medians[0], medians[1]), shown.change(), verdict, reason)


def _sizes(before: Measurement, after: Measurement, threshold: float) -> Iterator[Comparison]:
    """Compare sizes, which have no noise."""
    for name in _SIZES:
        values = before.metrics.get(name), after.metrics.get(name)
        if values[0] and values[1]:
            ratio = Ratio(*[values[1] / values[0]] * 3)
            yield Comparison(before, name, values, ratio.change(), ratio.verdict(threshold, size=True))


def _accuracies(before: Measurement, after: Measurement) -> Iterator[Comparison]:
    there = {(source.source, source.variant): source.metrics for source in after.sources}
    for source in before.sources:
        for metric in _own_measures(source):
            item, other = source.metrics[metric], there.get((source.source, source.variant), {}).get(metric)
            if other is not None and (item.value, other.value) != (None, None):
                yield _accuracy(before, metric, (item, other), source.source, source.variant)
    for variant in dict.fromkeys(source.variant for source in before.sources):
        alike = [source for source in before.sources if source.variant == variant and source.real and source.fake]
        named = dict.fromkeys(metric for source in alike for metric in _own_measures(source))
        for metric in named if len(alike) > 1 else ():
            means = mean_estimate(before, metric, variant), mean_estimate(after, metric, variant)
            if means[0].value is not None and means[1].value is not None:
                yield _accuracy(before, metric, means, MEAN, variant)


def _own_measures(source: SourceAccuracy) -> list[str]:
    """Return the measures that say something by themselves.

    Where there are both classes, the share of fakes found is bought with that of reals passed, and the balanced
    accuracy holds them together; a change of the AUC by a variant is in the AUC of that variant.
    """
    left_out = (*_TRADED, "auc_change") if source.real and source.fake else ("auc_change",)
    return [metric for metric in source.metrics if direction(metric) and metric not in left_out]


def _accuracy(row: Measurement, metric: str, items: tuple[Estimate, Estimate], source: str, variant: str) -> Comparison:
    change = difference(*items)
    verdict, reason = _accuracy_verdict(metric, change)
    values = items[0].value, items[1].value
    return Comparison(row, metric, values, change, verdict, reason, source, variant)


def _accuracy_verdict(metric: str, change: Estimate) -> tuple[Verdict, str]:
    if change.value is None:
        return "not comparable", "undefined in one of them"
    if change.value == 0:
        return "no change", ""
    if change.low is None or change.high is None:
        return "not comparable", "no interval, so no telling from noise"
    if abs(change.value) < LEAST_DIFFERENCE or change.low <= 0 <= change.high:
        return "no change", ""
    return ("better" if change.value * direction(metric) > 0 else "worse"), ""

"""Two reports compared, figure by figure: a change told from noise.

Times are compared by their raw samples. It is a change when the interval of their ratio leaves 1 *and* the ratio passes
a least effect, because two processes on one machine differ a little however long each is measured.

Where both reports hold a measurement several times, each in a process of its own, a process counts as its median and
the interval is Student's over processes: it covers how much they differ, and is as wide as their number demands. Of two
environments that were measured in turns, it is over the ratios of pairs. Of a process alone nobody knows how the next
would differ: its samples are cut into at most :data:`BLOCKS` blocks of neighbours, each block stands for its median,
blocks are drawn anew, and it has to change by more than it wandered while it was measured. Processes at two times
cannot tell a change from what their machine did in between, whatever their intervals say: they have to differ by more,
and most where there is one alone.

Accuracies are compared by their bootstrap intervals. What was measured on another machine or other data is not
comparable, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_bench.records.report import Estimate, Machine, Measurement, Report, SourceAccuracy
from deepfake_bench.report.figures import (
    MEAN,
    device_kind,
    difference,
    direction,
    mean_estimate,
    meaningful,
    short_name,
)
from deepfake_core.evaluation.metrics import student_quantile

Verdict: TypeAlias = Literal["faster", "slower", "better", "worse", "no change", "not comparable"]
Key: TypeAlias = tuple[str, str, str, int | None, str, str]
Runs: TypeAlias = Sequence[Sequence[float]]

THRESHOLD = 0.05
"""Least effect as a share: on what was measured in turns, on file sizes and numbers of parameters."""
BETWEEN_RUNS = 0.25
"""On runs that were made one after the other; the page "Reports" says what it was taken from."""
ALONE = 1.0
"""On times of one process."""
ALONE_MEMORY = 0.5
"""On the memory of one process, which does not go with the clock."""
LEAST_DIFFERENCE = 0.005
"""Least effect on an accuracy."""
LEVEL = 0.999
"""Coverage of an interval over processes: a run has about a hundred figures, of which none should differ by chance."""
TRIMMED = 0.1
"""Share of the processes at each end that a mean leaves out: of ten, one that something disturbed does not count."""
ALONE_LEVEL = 0.99
"""Of one within a process, where :data:`ALONE` decides."""
BLOCKS = 25
FEW = 2
"""Fewer raw times than this say nothing about noise."""
DRAWS = 2000
REGRESSIONS = ("slower", "worse")
_NOT_COMPARED = ("warm_up_ms", "response_ms_within_p99")
"""Samples of what is not steady, and of a load that each report found for itself."""
_SEVERAL = "measure several by dfbench run --repeat 20"
BY_ITSELF = "a machine may do as much between two runs; measure in turns: dfbench run --repeat 20 --beside PYTHON"
"""Why a difference with an interval beyond 1 is no change."""
_SIZES = ("file_mb", "parameters")
_MEMORY = "peak_rss_mb"
_TRADED = ("fakes_found", "reals_passed")
_ABOUT_DATA = ("untrained_probe",)


class Ratio(NamedTuple):
    """Of two medians, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure in both reports.

    Attributes:
        before: The measurement of the first report; of the second where the first has none.
        metric: What is compared; empty for a whole measurement.
        values: The figure before and after.
        change: After / before - 1 for times, rates and sizes; after - before for accuracies.
        verdict: What became of it.
        reason: Why it is not comparable, or what failed.
        source: Of the dataset; empty for the whole measurement.
        variant: How its pictures were changed.
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
    """Every figure that means something in either report.

    Measurements are paired by detector, backend, kind of device, threads, scenario and name of the dataset.

    Args:
        before: The report to compare with.
        after: The report in question.
        threshold: Least relative change of a time, rate or size that counts; by default what the runs allow,
            :data:`THRESHOLD`, :data:`BETWEEN_RUNS` or :data:`ALONE`.
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
    """The measurements that have meaningful figures; several with one key are repetitions."""
    found: dict[Key, list[Measurement]] = {}
    for row in report.measurements:
        if meaningful(row) and row.scenario not in _ABOUT_DATA:
            dataset = row.dataset.name if row.dataset else ""
            key = _name(row), row.backend, device_kind(row.device), row.threads, row.scenario, dataset
            found.setdefault(key, []).append(row)
    return found


def _name(row: Measurement) -> str:
    """A detector's name without its version: another version of it is what one wants to compare."""
    return short_name(row.detector).partition("@")[0]


def _gone(row: Measurement, after: Report) -> Comparison:
    """What stood in the first report alone; worse when it failed in the second."""
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
    series = [[_series(row) for row in rows] for rows in (rows_before, rows_after)]
    for name in series[0][0]:
        found = [[each[name] for each in side if name in each] for side in series]
        if found[1]:
            yield _timed(before, name, (found[0], found[1]), elsewhere, threshold, in_turns=in_turns)
    yield from _accuracies(before, after)


def _other_data(before: Measurement, after: Measurement) -> str:
    hashes = [row.dataset.sha256 if row.dataset else "" for row in (before, after)]
    if hashes[0] == hashes[1]:
        return ""
    return f"other data under the same name: sha256 {hashes[0][:12]} and {hashes[1][:12]}"


def _other_machine(before: Measurement, after: Measurement, machines: tuple[Machine, Machine]) -> str:
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
    """Raw samples by name; of the batches of a throughput, the ms per picture of the best alone."""
    peak = row.metrics.get(_MEMORY)
    memory = {_MEMORY: [peak]} if peak else {}
    if "images_per_s" in row.metrics and (best := row.metrics.get("best_batch")):
        taken = row.samples.get(f"batch_{best:.0f}_ms", [])
        return memory | ({"images_per_s": [ms / best for ms in taken]} if taken else {})
    return memory | {name: samples for name, samples in row.samples.items() if samples and name not in _NOT_COMPARED}


def _timed(
    row: Measurement, name: str, runs: tuple[Runs, Runs], elsewhere: str, threshold: float | None, *, in_turns: bool
) -> Comparison:
    """Times, the lower the better; a rate is the inverse of one."""
    size = name == _MEMORY
    metric = name if size or name == "images_per_s" else f"{name}_p50"
    ratio = ratio_of_medians(*runs, in_turns=in_turns)
    medians = [float(np.median(block_medians(side))) for side in runs]
    shown = ratio
    if name == "images_per_s":
        medians, shown = [1e3 / median for median in medians], _inverse(ratio)
    fewest = min(sum(map(len, side)) for side in runs)
    if fewest < FEW and not size and not elsewhere:
        elsewhere = f"a single time says nothing about noise: {_SEVERAL}"
    verdict: Verdict = "not comparable"
    reason = elsewhere
    if not elsewhere:
        least = _least(runs, size=size, in_turns=in_turns) if threshold is None else threshold
        verdict, reason = judge_times(*runs, least, size=size, in_turns=in_turns)
        if least > THRESHOLD and verdict == "no change" != _verdict_on_ratio(ratio, THRESHOLD, size=size):
            reason = BY_ITSELF
    return Comparison(row, metric, (medians[0], medians[1]), _relative(shown), verdict, reason)


def _least(runs: tuple[Runs, Runs], *, size: bool, in_turns: bool) -> float:
    """The least relative change that such runs can show."""
    if 1 not in map(len, runs):
        return THRESHOLD if in_turns else BETWEEN_RUNS
    return ALONE_MEMORY if size else ALONE


def judge_times(
    before: Runs, after: Runs, threshold: float, *, size: bool = False, in_turns: bool = False
) -> tuple[Verdict, str]:
    """What became of a time, and what to think of it.

    Args:
        before: Raw samples of each process.
        after: Likewise.
        threshold: Least relative change that counts.
        size: They are sizes rather than times.
        in_turns: Whether processes were measured in turns, see :func:`ratio_of_medians`.
    """
    ratio = ratio_of_medians(before, after, in_turns=in_turns)
    verdict = _verdict_on_ratio(ratio, threshold, size=size)
    alone = [runs[0] for runs in (before, after) if len(runs) == 1]
    varies = max(map(wandering, alone), default=1.0)
    if verdict == "no change" or not alone:
        return verdict, ""
    if max(ratio.value, 1 / ratio.value) <= varies:
        return "no change", f"one process varied by {varies - 1:.0%} while it was measured: {_SEVERAL}"
    return verdict, f"one process alone: to be sure, {_SEVERAL}"


def wandering(samples: Sequence[float]) -> float:
    """How far a process wandered while it was measured: the largest over the smallest median of its two halves."""
    halves = [np.median(half) for half in np.array_split(np.asarray(samples), min(2, len(samples)))]
    return float(max(halves) / min(halves))


def _verdict_on_ratio(ratio: Ratio, threshold: float, *, size: bool) -> Verdict:
    if ratio.value > 1 + threshold and ratio.low > 1:
        return "worse" if size else "slower"
    if ratio.value < 1 / (1 + threshold) and ratio.high < 1:
        return "better" if size else "faster"
    return "no change"


def ratio_of_medians(before: Runs, after: Runs, *, in_turns: bool = False) -> Ratio:
    """Median of ``after`` over that of ``before``, with its interval: of several processes, a mean over their medians.

    In turns, a process of the one is compared with that of the other that was measured beside it, and the mean of
    their ratios counts: what drifts from round to round meets both, and falls out. Means are geometric and leave out
    the extremes, and intervals are Student's for such means (Yuen 1974; of two samples as by Welch).

    Args:
        before: Raw samples of one process or several, in the order they were taken.
        after: Likewise, in the same unit.
        in_turns: Whether the n-th processes of both were measured one after the other; without effect where one side
            has fewer.
    """
    blocks = [block_medians(runs) for runs in (before, after)]
    if 1 in map(len, blocks):
        return _alone(*blocks)
    levels = [np.log(np.median(found, axis=1)) for found in blocks]
    if in_turns and len(before) == len(after):
        parts = [_trimmed(levels[1] - levels[0])]
        mean = parts[0].mean
    else:
        parts = [_trimmed(level) for level in levels]
        mean = parts[1].mean - parts[0].mean
    variance = sum(part.variance for part in parts)
    spread = sum(part.variance**2 / part.freedom for part in parts)
    reach = student_quantile((1 + LEVEL) / 2, variance**2 / spread) * np.sqrt(variance) if spread else 0.0
    with np.errstate(over="ignore"):  # of two processes the interval may well be without an end
        return Ratio(*np.exp([mean, mean - reach, mean + reach]).tolist())


class _Mean(NamedTuple):
    """A trimmed mean with its squared standard error and the degrees of freedom of that."""

    mean: float
    variance: float
    freedom: int


def _trimmed(values: NDArray[np.float64]) -> _Mean:
    """Mean of ``float64 [P]``, P ≥ 2, without the share :data:`TRIMMED` at each end, as Yuen (1974) takes it."""
    ordered, out = np.sort(values), int(TRIMMED * len(values))
    kept = ordered[out : len(values) - out]
    squares = len(values) * np.clip(ordered, kept[0], kept[-1]).var()
    return _Mean(float(kept.mean()), float(squares / (len(kept) * (len(kept) - 1))), len(kept) - 1)


def _alone(before: NDArray[np.float64], after: NDArray[np.float64]) -> Ratio:
    """Of block medians ``float64 [P, B]``, with one process on a side: a bootstrap over processes and blocks."""
    rng = np.random.default_rng(0)
    medians = []
    for found in (before, after):
        count, length = found.shape
        processes = rng.integers(count, size=(DRAWS, count, 1))
        drawn = found[processes, rng.integers(length, size=(DRAWS, count, length))]
        medians.append(np.median(drawn, axis=(1, 2)))
    low, high = np.quantile(medians[1] / medians[0], ((1 - ALONE_LEVEL) / 2, (1 + ALONE_LEVEL) / 2))
    return Ratio(float(np.median(after) / np.median(before)), float(low), float(high))


def block_medians(runs: Runs) -> NDArray[np.float64]:
    """Medians ``float64 [P, B]`` of at most :data:`BLOCKS` blocks of neighbouring samples of each process."""
    count = min(BLOCKS, *map(len, runs))
    return np.array([[np.median(block) for block in np.array_split(np.asarray(run), count)] for run in runs])


def _inverse(ratio: Ratio) -> Ratio:
    return Ratio(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)


def _relative(ratio: Ratio) -> Estimate:
    return Estimate(value=ratio.value - 1, low=ratio.low - 1, high=ratio.high - 1)


def _sizes(before: Measurement, after: Measurement, threshold: float) -> Iterator[Comparison]:
    """Sizes, which have no noise."""
    for name in _SIZES:
        values = before.metrics.get(name), after.metrics.get(name)
        if values[0] and values[1]:
            ratio = Ratio(*[values[1] / values[0]] * 3)
            yield Comparison(before, name, values, _relative(ratio), _verdict_on_ratio(ratio, threshold, size=True))


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
    """Measures that say something by themselves.

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

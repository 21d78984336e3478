"""How times and memory of two reports differ: the ratio of their medians, its interval, and a verdict.

A change has to leave noise behind twice: the interval of the ratio excludes 1, *and* the ratio passes a least effect,
because two processes on one machine differ a little however long each is measured.

- **Several processes in both reports.** A process counts as its median, and the interval is Student's over processes:
  it covers how much they differ, and is as wide as their number demands. Where two environments were measured in turns,
  it is over the ratios of pairs.
- **One process alone.** Nobody knows how the next one would differ. Its samples are cut into at most :data:`BLOCKS`
  blocks of neighbours, each block stands for its median, blocks are drawn anew, and the ratio has to exceed the drift
  of the process while it was measured.

Processes at two times cannot tell a change from what their machine did in between, whatever their intervals say. So
the least effect is larger for them, and largest where there is one process alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_bench.records.report import Estimate
from deepfake_core.evaluation.metrics import student_quantile

Verdict: TypeAlias = Literal["faster", "slower", "better", "worse", "no change", "not comparable"]
Runs: TypeAlias = Sequence[Sequence[float]]
"""Raw samples of each process."""

THRESHOLD = 0.05
"""Least effect, as a share, on what was measured in turns, on file sizes and on numbers of parameters."""
BETWEEN_RUNS = 0.25
"""Least effect on runs that were made one after the other; the page "Reports" says what it was taken from."""
ALONE = 1.0
"""Least effect on the times of one process."""
ALONE_MEMORY = 0.5
"""Least effect on the memory of one process, which does not depend on the clock."""
LEVEL = 0.999
"""Coverage of an interval over processes: a run has about a hundred figures, of which none should differ by chance."""
TRIMMED = 0.1
"""Share of the processes at each end that a mean leaves out: of ten, one that something disturbed does not count."""
ALONE_LEVEL = 0.99
"""Coverage of an interval within one process, where :data:`ALONE` decides."""
BLOCKS = 25
DRAWS = 2000
SEVERAL = "measure several by dfbench run --repeat 20"


class Ratio(NamedTuple):
    """Ratio of two medians, with its interval."""

    value: float
    low: float
    high: float

    def inverse(self) -> Ratio:
        """Return the ratio of the inverse quantities: of rates instead of times."""
        return Ratio(1 / self.value, 1 / self.high, 1 / self.low)

    def change(self) -> Estimate:
        """Return the relative change: the ratio less 1."""
        return Estimate(value=self.value - 1, low=self.low - 1, high=self.high - 1)

    def verdict(self, threshold: float, *, size: bool) -> Verdict:
        """Return whether the second median is a change.

        Args:
            threshold: Least relative change that counts.
            size: Whether the medians are sizes rather than times.
        """
        if self.value > 1 + threshold and self.low > 1:
            return "worse" if size else "slower"
        if self.value < 1 / (1 + threshold) and self.high < 1:
            return "better" if size else "faster"
        return "no change"


def least_effect(runs: tuple[Runs, Runs], *, size: bool, in_turns: bool) -> float:
    """Return the least relative change that such runs can show."""
    if 1 not in map(len, runs):
        return THRESHOLD if in_turns else BETWEEN_RUNS
    return ALONE_MEMORY if size else ALONE


def verdict_on_times(
    before: Runs, after: Runs, threshold: float, *, size: bool = False, in_turns: bool = False
) -> tuple[Verdict, str]:
    """Return the verdict on a time, and a remark on how far it can be trusted (empty for none).

    Args:
        before: Raw samples of each process of the first report.
        after: Raw samples of each process of the second report, in the same unit.
        threshold: Least relative change that counts.
        size: Whether the samples are sizes rather than times.
        in_turns: Whether processes were measured in turns, see :func:`ratio_of_medians`.
    """
    ratio = ratio_of_medians(before, after, in_turns=in_turns)
    verdict = ratio.verdict(threshold, size=size)
    alone = [runs[0] for runs in (before, after) if len(runs) == 1]
    varies = max(map(drift, alone), default=1.0)
    if verdict == "no change" or not alone:
        return verdict, ""
    if max(ratio.value, 1 / ratio.value) <= varies:
        return "no change", f"one process varied by {varies - 1:.0%} while it was measured: {SEVERAL}"
    return verdict, f"one process alone: to be sure, {SEVERAL}"


def drift(samples: Sequence[float]) -> float:
    """Return how far a process drifted while it was measured: the larger over the smaller median of its two halves."""
    halves = [np.median(half) for half in np.array_split(np.asarray(samples), min(2, len(samples)))]
    return float(max(halves) / min(halves))


def ratio_of_medians(before: Runs, after: Runs, *, in_turns: bool = False) -> Ratio:
    """Return the median of ``after`` over that of ``before``, with its interval; over processes, a mean of medians.

    In turns, a process is compared with the process of the other environment that was measured beside it, and the mean
    of their ratios counts: what drifts from round to round meets both, and falls out. Means are geometric and leave out
    the extremes, and intervals are Student's for such means (Yuen 1974; of two samples as by Welch).

    Args:
        before: Raw samples of each process, in the order in which they were taken.
        after: Raw samples of each process of the other report, in the same unit.
        in_turns: Whether the n-th processes of both were measured one after the other; without effect where one side
            has fewer.
    """
    blocks = [block_medians(runs) for runs in (before, after)]
    if 1 in map(len, blocks):
        return _ratio_alone(*blocks)
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
    """A trimmed mean, its squared standard error, and the degrees of freedom of that error."""

    mean: float
    variance: float
    freedom: int


def _trimmed(values: NDArray[np.float64]) -> _Mean:
    """Return the mean of ``float64 [P]``, P ≥ 2, without the share :data:`TRIMMED` at each end (Yuen 1974)."""
    ordered, out = np.sort(values), int(TRIMMED * len(values))
    kept = ordered[out : len(values) - out]
    squares = len(values) * np.clip(ordered, kept[0], kept[-1]).var()
    return _Mean(float(kept.mean()), float(squares / (len(kept) * (len(kept) - 1))), len(kept) - 1)


def _ratio_alone(before: NDArray[np.float64], after: NDArray[np.float64]) -> Ratio:
    """Return the ratio of block medians ``float64 [P, B]`` where a side has one process, by a bootstrap.

    Processes and blocks are drawn.
    """
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
    """Return the medians ``float64 [P, B]`` of at most :data:`BLOCKS` blocks of neighbouring samples per process."""
    count = min(BLOCKS, *map(len, runs))
    return np.array([[np.median(block) for block in np.array_split(np.asarray(run), count)] for run in runs])

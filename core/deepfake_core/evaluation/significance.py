"""Whether one detector ranks better than another on the same files: difference of two AUCs, interval and p-value.

Both scores of a file are taken together. What makes a file hard makes it hard for both detectors, so the difference is
known far better than either AUC, and intervals that overlap say nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepfake_core.evaluation.metrics import Floats, Metric, grouped_draws, independent, interval, roc_auc


@dataclass(frozen=True, slots=True)
class Difference:
    """A measure of the second detector less that of the first, on the same files.

    Attributes:
        value: The difference; positive where the second is better.
        low, high: Ends of its interval; ``nan`` where there is none.
        p_value: How probable a difference this large is, in either direction, where there is none; ``nan`` likewise.
        method: ``DeLong`` or ``bootstrap``.
    """

    value: float
    low: float
    high: float
    p_value: float
    method: str


def auc_difference(
    fake: ArrayLike, first: ArrayLike, second: ArrayLike, groups: ArrayLike, level: float = 0.95
) -> Difference:
    """ROC AUC of ``second`` less that of ``first``: DeLong's test, or the bootstrap where samples share a group.

    Args:
        fake: int or float [N] in {0, 1}.
        first: float [N], scores of one detector.
        second: float [N], scores of the other one, on the same samples in the same order.
        groups: [N], any type that sorts: video, sequence or identity.
        level: Coverage of the interval.
    """
    if len(np.unique(np.asarray(groups))) == np.size(fake):
        return delong(fake, first, second, level)
    return grouped_difference(fake, first, second, groups, level=level)


def delong(fake: ArrayLike, first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Difference:
    """DeLong's test of two correlated AUCs (DeLong et al. 1988), by the algorithm of Sun & Xu (2014) in N log N.

    It holds for independent samples. With fewer than two samples in a class, or where the difference does not vary
    at all, there is no interval.

    Args:
        fake: int or float [N] in {0, 1}.
        first: float [N], scores of one detector.
        second: float [N], of the other one.
        level: Coverage of the interval.
    """
    value = roc_auc(fake, second) - roc_auc(fake, first)
    target = np.asarray(fake) > 0.5
    counts = int(target.sum()), int((~target).sum())
    if min(counts) < 2:
        return Difference(value, math.nan, math.nan, math.nan, "DeLong")
    components = [_components(target, np.asarray(score, dtype=np.float64)) for score in (first, second)]
    # The variance of a difference is that of the samples' own differences.
    per_fake, per_real = (ours - theirs for theirs, ours in zip(*components, strict=True))
    variance = per_fake.var(ddof=1) / counts[0] + per_real.var(ddof=1) / counts[1]
    if variance <= 0:
        return Difference(value, math.nan, math.nan, math.nan, "DeLong")
    error = math.sqrt(variance)
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    p_value = math.erfc(abs(value) / error / math.sqrt(2))
    return Difference(value, value - reach, value + reach, p_value, "DeLong")


def _components(target: Any, score: Floats) -> tuple[Floats, Floats]:
    """For each fake the share of reals that score below it, for each real the share of fakes above; ties are half."""
    fakes, reals = score[target], score[~target]
    among_all = _midranks(np.concatenate([fakes, reals]))
    below = (among_all[: len(fakes)] - _midranks(fakes)) / len(reals)
    above = 1.0 - (among_all[len(fakes) :] - _midranks(reals)) / len(fakes)
    return below, above


def _midranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(count) - (count - 1) / 2)[index]
    return ranks


def grouped_difference(
    fake: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    metric: Metric = roc_auc,
    n: int = 1000,
    level: float = 0.95,
) -> Difference:
    """``metric`` of ``second`` less that of ``first``, when whole groups are drawn with replacement.

    The p-value counts the draws on the other side of zero, twice, with one more than there were so that it is never 0
    (Davison & Hinkley 1997, chapter 4).

    Args:
        fake: int or float [N] in {0, 1}.
        first: float [N], scores of one detector.
        second: float [N], of the other one.
        groups: [N], any type that sorts: video, sequence or identity.
        metric: ``metric(fake, score) -> float``.
        n: Draws.
        level: Coverage of the interval.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)

    def change(target: Any, place: Any) -> float:
        """A bootstrap draws samples by their place, so that both scores of a sample are drawn together."""
        index = np.asarray(place, dtype=np.intp)
        return metric(target, after[index]) - metric(target, before[index])

    places = np.arange(len(before), dtype=np.float64)
    drawn = grouped_draws(fake, places, groups, change, n)
    p_value = math.nan
    if len(drawn):
        p_value = min(1.0, 2 * (1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))) / (len(drawn) + 1))
    value = change(fake, places)
    return Difference(value, *interval(value, drawn, independent(fake, groups), level), p_value, "bootstrap")

"""Compare two detectors on the same files: difference of a metric, confidence interval and p-value.

The comparison is paired. A file that is hard for one detector tends to be hard for the other one too, so that the
difference is known far better than either AUC. Whether the intervals of the two AUCs overlap says nothing about it.
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
    """Difference of a metric between two detectors on the same files: the second one minus the first one.

    Attributes:
        value: Difference; positive if the second detector has the higher value.
        low: Lower end of the confidence interval; ``nan`` if there is no interval.
        high: Upper end of the confidence interval; ``nan`` if there is no interval.
        p_value: Two-sided p-value under the null hypothesis that the detectors do not differ; ``nan`` if there is none.
        method: Method of interval and p-value, ``DeLong`` or ``bootstrap``.
    """

    value: float
    low: float
    high: float
    p_value: float
    method: str


def auc_difference(
    fake: ArrayLike, first: ArrayLike, second: ArrayLike, groups: ArrayLike, level: float = 0.95
) -> Difference:
    """Compute the ROC AUC of ``second`` minus that of ``first``, with interval and p-value.

    :func:`delong` is used if every sample has a group of its own, :func:`grouped_difference` otherwise.

    Args:
        fake: Labels ``[N]`` in {0, 1}, where 1 means fake.
        first: Scores of the first detector, float ``[N]``.
        second: Scores of the second detector, float ``[N]``, on the same samples in the same order.
        groups: Group of each sample ``[N]``, of any type that can be sorted: video, sequence or identity.
        level: Coverage of the interval, in (0, 1).

    Raises:
        ValueError: The arrays differ in length, a label is neither 0 nor 1, or a score is not finite.
    """
    _check_lengths(fake, first, second, groups)
    if len(np.unique(np.asarray(groups))) == np.size(fake):
        return delong(fake, first, second, level)
    return grouped_difference(fake, first, second, groups, level=level)


def delong(fake: ArrayLike, first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Difference:
    """Compute the ROC AUC of ``second`` minus that of ``first``, and test it by the method of DeLong et al. (1988).

    The algorithm is that of Sun & Xu (2014), which takes O(N log N) time. The samples must be mutually independent.
    Interval and p-value are ``nan`` with fewer than two samples in a class, or if the estimated variance is 0.

    Args:
        fake: Labels ``[N]`` in {0, 1}, where 1 means fake.
        first: Scores of the first detector, float ``[N]``.
        second: Scores of the second detector, float ``[N]``, on the same samples in the same order.
        level: Coverage of the interval, in (0, 1).

    Raises:
        ValueError: The arrays differ in length, a label is neither 0 nor 1, or a score is not finite.
    """
    value = roc_auc(fake, second) - roc_auc(fake, first)
    target = np.asarray(fake) > 0.5
    counts = int(target.sum()), int((~target).sum())
    if min(counts) < 2:
        return Difference(value, math.nan, math.nan, math.nan, "DeLong")
    components = [_components(target, np.asarray(score, dtype=np.float64)) for score in (first, second)]
    # The variance of the difference follows from the difference of the two components of each sample.
    per_fake, per_real = (ours - theirs for theirs, ours in zip(*components, strict=True))
    variance = per_fake.var(ddof=1) / counts[0] + per_real.var(ddof=1) / counts[1]
    if variance <= 0:
        return Difference(value, math.nan, math.nan, math.nan, "DeLong")
    error = math.sqrt(variance)
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    p_value = math.erfc(abs(value) / error / math.sqrt(2))
    return Difference(value, value - reach, value + reach, p_value, "DeLong")


def _components(target: Any, score: Floats) -> tuple[Floats, Floats]:
    """Return DeLong's components float64 ``[fakes]`` and ``[reals]``; a tie counts half.

    For each fake, this is the share of reals with a lower score; for each real, the share of fakes with a higher one.
    """
    fakes, reals = score[target], score[~target]
    among_all = _midranks(np.concatenate([fakes, reals]))
    below = (among_all[: len(fakes)] - _midranks(fakes)) / len(reals)
    above = 1.0 - (among_all[len(fakes) :] - _midranks(reals)) / len(fakes)
    return below, above


def _midranks(values: Floats) -> Floats:
    """Return the ranks ``float64 [N]`` of values, counted from 1; equal values have the mean of their ranks."""
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
    """Compute ``metric`` of ``second`` minus that of ``first``, with a bootstrap that draws whole groups.

    The two-sided p-value is ``2 (1 + k) / (1 + D)``, at most 1: D is the number of draws, and k the smaller one of the
    numbers of draws with a difference ≤ 0 and ≥ 0. The added 1 keeps it above 0 (Davison & Hinkley 1997, chapter 4).

    Args:
        fake: Labels ``[N]`` in {0, 1}, where 1 means fake.
        first: Scores of the first detector, float ``[N]``.
        second: Scores of the second detector, float ``[N]``, on the same samples in the same order.
        groups: Group of each sample ``[N]``, of any type that can be sorted: video, sequence or identity.
        metric: Function ``metric(fake, score) -> float``.
        n: Number of bootstrap draws.
        level: Coverage of the interval, in (0, 1).

    Raises:
        ValueError: The arrays differ in length, a label is neither 0 nor 1, or a score is not finite.
    """
    _check_lengths(fake, first, second, groups)
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)

    def change(target: Any, place: Any) -> float:
        """Return the difference on samples that are given by their index, so that both scores are drawn together."""
        index = np.asarray(place, dtype=np.intp)
        return metric(target, after[index]) - metric(target, before[index])

    places = np.arange(len(before), dtype=np.float64)
    drawn = grouped_draws(fake, places, groups, change, n)
    p_value = math.nan
    if len(drawn):
        p_value = min(1.0, 2 * (1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))) / (len(drawn) + 1))
    value = change(fake, places)
    return Difference(value, *interval(value, drawn, independent(fake, groups), level), p_value, "bootstrap")


def _check_lengths(fake: ArrayLike, first: ArrayLike, second: ArrayLike, groups: ArrayLike) -> None:
    shapes = [np.shape(array) for array in (fake, first, second, groups)]
    if len(shapes[0]) != 1 or len(set(shapes)) > 1:
        raise ValueError(f"fake, first, second and groups must be one-dimensional and equally long, got {shapes}")

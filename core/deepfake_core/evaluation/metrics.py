"""Measures of a detector's scores, in NumPy alone: training validation and the benchmark use these.

Every function takes ``fake`` [N] in {0, 1} and ``score`` [N] (higher = more likely fake; for the measures of
probabilities, in [0, 1]) and returns a float. Tied scores are one threshold, never an order that happens to be.
Where a measure is undefined the answer is ``nan``: the rank measures and the balanced accuracy need both classes,
the measures of probabilities need one sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Metric = Callable[[Any, Any], float]


def roc_auc(fake: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: P(score of a fake > score of a real) + half of P(equal)."""
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    false_positives, true_positives = _counts(target, values)
    area = np.trapezoid(true_positives, false_positives)
    return float(area / (false_positives[-1] * true_positives[-1]))


def average_precision(fake: ArrayLike, score: ArrayLike) -> float:
    """Mean precision over the recall steps, ``Σ (R_k − R_{k−1}) P_k``, with fake as the positive class."""
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    false_positives, true_positives = _counts(target, values)
    precision = true_positives[1:] / (true_positives[1:] + false_positives[1:])
    return float(np.sum(np.diff(true_positives) * precision) / true_positives[-1])


def eer(fake: ArrayLike, score: ArrayLike) -> float:
    """Equal error rate in [0, 1]: where the (linearly interpolated) ROC curve has FPR = 1 − TPR."""
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    fpr, tpr = _rates(target, values)
    gap = fpr + tpr - 1.0  # rises from −1 to 1, monotonically
    above = int(np.searchsorted(gap, 0.0))
    share = -gap[above - 1] / (gap[above] - gap[above - 1])
    return float(fpr[above - 1] + share * (fpr[above] - fpr[above - 1]))


def tpr_at_fpr(fake: ArrayLike, score: ArrayLike, fpr: float) -> float:
    """Share of fakes found at the best threshold with at most ``fpr`` false alarms; not interpolated."""
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    false_rate, true_rate = _rates(target, values)
    return float(true_rate[np.searchsorted(false_rate, fpr, side="right") - 1])


def balanced_accuracy(fake: ArrayLike, score: ArrayLike, threshold: float = 0.5) -> float:
    """Mean of the shares of fakes and of reals judged rightly; ``score >= threshold`` says fake."""
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    said_fake = values >= threshold
    return float((said_fake[target == 1].mean() + (~said_fake[target == 0]).mean()) / 2)


def accuracy(fake: ArrayLike, score: ArrayLike, threshold: float = 0.5) -> float:
    """Share of samples judged rightly; ``score >= threshold`` says fake."""
    target, values = _checked(fake, score)
    return float(np.mean((values >= threshold) == (target > 0.5))) if len(target) else math.nan


def precision_recall_f1(fake: ArrayLike, score: ArrayLike, threshold: float = 0.5) -> tuple[float, float, float]:
    """Precision, recall and their harmonic mean, with fake as the positive class; NaN where undefined."""
    target, values = _checked(fake, score)
    found = values >= threshold
    hits = float(np.sum(found & (target > 0.5)))
    precision = hits / found.sum() if found.any() else math.nan
    recall = hits / target.sum() if target.any() else math.nan
    together = found.sum() + target.sum()
    return float(precision), float(recall), float(2 * hits / together) if together else math.nan


def reliability(
    fake: ArrayLike, p_fake: ArrayLike, bins: int = 15, weight: ArrayLike | None = None
) -> tuple[Floats, Floats, Floats]:
    """Mean P(fake), share of fakes and share of all samples in each bin that holds any; ``float64 [B]`` each.

    Bins hold equal numbers of samples (Nguyen & O'Connor 2015, arXiv 1508.05154), as far as ties allow: equal
    probabilities always share a bin, so the order of the samples does not matter.

    Args:
        fake: int or float [N] in {0, 1}.
        p_fake: float [N] in [0, 1].
        bins: At most this many.
        weight: float [N] > 0: how much each sample counts; all alike by default.
    """
    target, values = _checked(fake, p_fake)
    mass = _mass(weight, len(values))
    order = np.argsort(values, kind="stable")
    before = np.append(0.0, np.cumsum(mass[order]))
    below = before[np.searchsorted(values[order], values)]
    index = np.minimum(below * bins / before[-1], bins - 1).astype(np.intp)
    total, p_sum, fake_sum = (np.bincount(index, weights=mass * item) for item in (1.0, values, target))
    held = total > 0
    return p_sum[held] / total[held], fake_sum[held] / total[held], total[held] / before[-1]


def ece(fake: ArrayLike, p_fake: ArrayLike, bins: int = 15, weight: ArrayLike | None = None) -> float:
    """Expected calibration error: the mean gap between P(fake) and the share of fakes, over equal-mass bins.

    The arguments are those of :func:`reliability`.
    """
    if not np.size(fake):
        return float("nan")
    p_mean, share, mass = reliability(fake, p_fake, bins, weight)
    return float(mass @ np.abs(p_mean - share))


def brier(fake: ArrayLike, p_fake: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean squared error of P(fake) (Brier 1950); ``weight`` as for :func:`reliability`."""
    target, values = _checked(fake, p_fake)
    return (
        float(np.average((values - target) ** 2, weights=_mass(weight, len(values)))) if len(values) else float("nan")
    )


def nll(fake: ArrayLike, p_fake: ArrayLike) -> float:
    """Mean negative log-likelihood in nats; probabilities are kept 1e-12 away from 0 and 1."""
    target, values = _checked(fake, p_fake)
    if not len(values):
        return float("nan")
    values = np.clip(values, 1e-12, 1 - 1e-12)
    return float(-np.mean(target * np.log(values) + (1 - target) * np.log1p(-values)))


def roc_curve(fake: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates ``float64 [K]`` at each distinct threshold, from (0, 0) to (1, 1).

    Raises:
        ValueError: One class only.
    """
    target, values = _checked(fake, score)
    if _one_class(target):
        raise ValueError("a ROC curve needs both classes")
    return _rates(target, values)


def grouped_bootstrap(
    fake: ArrayLike,
    score: ArrayLike,
    groups: ArrayLike,
    metric: Metric,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    *,
    rate: bool = True,
) -> tuple[float, float]:
    """Interval of ``metric`` by how it varies when whole groups are drawn with replacement.

    Samples of one video or identity are not independent: drawing them one by one would make intervals too
    narrow. Draws in which the metric is undefined (one class only) are left out.

    Args:
        fake: int or float [N] in {0, 1}.
        score: float [N].
        groups: [N], any type that sorts: video, sequence or identity.
        metric: ``metric(fake, score) -> float``.
        n: Draws.
        seed: Of the draws.
        level: Coverage.
        rate: Whether the metric lies in [0, 1], see :func:`interval`.

    Returns:
        Lower and upper end; ``nan`` where fewer than two groups or no defined draw exist.
    """
    drawn = grouped_draws(fake, score, groups, metric, n, seed)
    value = metric(*_checked(fake, score)) if len(drawn) else float("nan")
    return interval(value, drawn, independent(fake, groups), level, rate=rate)


def grouped_draws(
    fake: ArrayLike, score: ArrayLike, groups: ArrayLike, metric: Metric, n: int = 1000, seed: int = 0
) -> Floats:
    """``float64 [≤ n]``: ``metric`` on each draw of whole groups, as :func:`grouped_bootstrap` makes them.

    Draws in which the metric is undefined are left out; with fewer than two groups there are none.
    """
    target, values = _checked(fake, score)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if group.shape != target.shape:
        raise ValueError(f"groups has shape {group.shape}, fake {target.shape}")
    count = int(group.max()) + 1 if len(group) else 0
    if count < 2:
        return np.empty(0)
    # Drawn in the order of the scores, every draw is already sorted, and sorting it again is a single pass.
    order = np.argsort(values, kind="stable")
    target, values, group = target[order], values[order], group[order]
    rng = np.random.default_rng(seed)
    drawn = np.empty(n)
    for index in range(n):
        times = np.bincount(rng.integers(count, size=count), minlength=count)[group]
        drawn[index] = metric(np.repeat(target, times), np.repeat(values, times))
    return drawn[~np.isnan(drawn)]


def independent(fake: ArrayLike, groups: ArrayLike) -> list[int]:
    """Number of groups of each class that there is: as many say how much its scores vary."""
    target, group = np.asarray(fake), np.asarray(groups)
    return [len(np.unique(group[target == label])) for label in np.unique(target)]


def interval(
    value: float, drawn: Floats, groups: Sequence[int], level: float = 0.95, *, rate: bool = False
) -> tuple[float, float]:
    """Where a measure may lie, from the spread of its bootstrap draws.

    It is ``value ± t s``: s the standard deviation of the draws, times √(n / (n − 1)) because draws of n groups vary
    less than new groups would, and t Student's quantile for n − 1 degrees of freedom of each class, n being the groups
    of the smaller one. For a rate this is done on the scale of its logit, as a measure near 0 or 1 has more room on one
    side. A rate of exactly 0 or 1, from which no draw can differ, reaches ``1 − ((1 − level) / 2) ^ (1 / n)`` away: for
    a share this is exact (Clopper & Pearson 1934), for an AUC it is safe, since n pairs of groups without one in common
    would all have to be in the right order.

    Args:
        value: The measure.
        drawn: float64 [D], the draws.
        groups: Of each class, see :func:`independent`.
        level: Coverage.
        rate: Whether the measure lies in [0, 1].

    Returns:
        Lower and upper end; ``nan`` where there are fewer than two groups or draws, or all draws give the same rate
        between 0 and 1.
    """
    count = min(groups, default=0)
    if count < 2 or len(drawn) < 2 or math.isnan(value):
        return float("nan"), float("nan")
    if rate and value in (0.0, 1.0):
        room = 1 - ((1 - level) / 2) ** (1 / count)
        return max(0.0, value - room), min(1.0, value + room)
    freedom = len(groups) * (count - 1)
    reach = student_quantile((1 + level) / 2, freedom) * float(np.std(drawn)) * math.sqrt(count / (count - 1))
    if not rate:
        return value - reach, value + reach
    if not reach:
        return float("nan"), float("nan")
    logit, width = math.log(value / (1 - value)), reach / (value * (1 - value))
    return _sigmoid(logit - width), _sigmoid(logit + width)


def student_quantile(share: float, freedom: float) -> float:
    """Quantile of Student's distribution, of whole degrees of freedom: those below ``freedom`` are taken.

    Up to 50 of them by bisection of the distribution (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4), beyond by Cornish
    and Fisher's expansion (26.7.5), which is right to 1e-4 there.

    Args:
        share: In (0, 1).
        freedom: Degrees of freedom, at least 1.
    """
    degrees = math.floor(freedom + 1e-9)  # a whole number may have been computed a little short
    z = NormalDist().inv_cdf(share)
    if degrees > 50:
        terms = (
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        )
        return z + math.fsum(term / degrees**power for power, term in enumerate(terms, start=1))
    # The distribution is known by the angle whose tangent is t / sqrt(degrees).
    wanted, low, high = abs(2 * share - 1), 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, degrees) < wanted else (low, angle)
    return math.copysign(math.tan(low) * math.sqrt(degrees), z)


def _within(angle: float, degrees: int) -> float:
    """Share of Student's distribution between -t and t, ``t = tan(angle) sqrt(degrees)``."""
    odd, cosine = degrees % 2, math.cos(angle)
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    for factor in range(2 + odd, degrees - 1, 2):
        term *= cosine**2 * (factor - 1) / factor
        total += term
    if not odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if degrees > 1 else 0.0))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


def _checked(fake: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 [N].

    Raises:
        ValueError: Unequal shapes, a target other than 0 and 1, or a score that is not finite.
    """
    target, values = np.asarray(fake, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if target.ndim != 1 or target.shape != values.shape:
        raise ValueError(f"fake and score must be one-dimensional and equally long, got {target.shape}, {values.shape}")
    if not np.isin(target, (0.0, 1.0)).all():
        raise ValueError("fake must hold 0 and 1 only")
    if not np.isfinite(values).all():
        raise ValueError("score must be finite")
    return target, values


def _mass(weight: ArrayLike | None, count: int) -> Floats:
    return np.ones(count) if weight is None else np.asarray(weight, dtype=np.float64)


def _one_class(target: Floats) -> bool:
    return len(target) == 0 or bool(target.min() == target.max())


def _counts(target: Floats, values: Floats) -> tuple[Floats, Floats]:
    """False and true positives at each distinct threshold, from above all scores (0, 0) downwards."""
    order = np.argsort(values, kind="stable")[::-1]
    target, values = target[order], values[order]
    last_of_tie = np.append(np.diff(values) != 0, True)
    true_positives = np.cumsum(target)[last_of_tie]
    seen = np.flatnonzero(last_of_tie) + 1
    return np.append(0.0, seen - true_positives), np.append(0.0, true_positives)


def _rates(target: Floats, values: Floats) -> tuple[Floats, Floats]:
    false_positives, true_positives = _counts(target, values)
    return false_positives / false_positives[-1], true_positives / true_positives[-1]

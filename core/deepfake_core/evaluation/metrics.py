"""Metrics of a detector's scores and their confidence intervals, in NumPy alone.

The validation during training and the benchmark use the same functions. Their arguments are

- ``fake``: ground truth, int, bool or float ``[N]`` in {0, 1}, where 1 means fake;
- ``score``: scores, float ``[N]``; a higher score means more likely fake, on any scale;
- ``p_fake``: predicted probabilities that the samples are fake, float ``[N]`` in [0, 1].

Samples with equal scores share one threshold, so that no result depends on the order of the samples. An undefined
metric is ``nan``: those of a ranking and the balanced accuracy need samples of both classes, the others one sample.

All of them raise :class:`ValueError` if the arrays are not one-dimensional and equally long, if ``fake`` holds another
value than 0 and 1, or if a score is not finite.
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
    """Compute the area under the ROC curve, in [0, 1], of scores ``[N]`` for labels ``[N]``.

    It is the probability that a fake has a higher score than a real, where a tie counts half (Hanley & McNeil 1982).
    """
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    false_positives, true_positives = _counts(target, values)
    area = np.trapezoid(true_positives, false_positives)
    return float(area / (false_positives[-1] * true_positives[-1]))


def average_precision(fake: ArrayLike, score: ArrayLike) -> float:
    """Compute the average precision, in [0, 1], of scores ``[N]`` for labels ``[N]``; fake is the positive class.

    It is ``Σ (R_k − R_{k−1}) P_k`` with precision P_k and recall R_k at the k-th highest distinct score, without
    interpolation: the definition of ``sklearn.metrics.average_precision_score``.
    """
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    false_positives, true_positives = _counts(target, values)
    precision = true_positives[1:] / (true_positives[1:] + false_positives[1:])
    return float(np.sum(np.diff(true_positives) * precision) / true_positives[-1])


def eer(fake: ArrayLike, score: ArrayLike) -> float:
    """Compute the equal error rate, in [0, 1], of scores ``[N]`` for labels ``[N]``.

    It is the false positive rate at the point of the linearly interpolated ROC curve where FPR = 1 − TPR.
    """
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    fpr, tpr = _rates(target, values)
    gap = fpr + tpr - 1.0  # rises monotonically from −1 to 1
    above = int(np.searchsorted(gap, 0.0))
    share = -gap[above - 1] / (gap[above] - gap[above - 1])
    return float(fpr[above - 1] + share * (fpr[above] - fpr[above - 1]))


def tpr_at_fpr(fake: ArrayLike, score: ArrayLike, fpr: float) -> float:
    """Compute the largest true positive rate, in [0, 1], with a false positive rate of at most ``fpr``.

    Only thresholds that separate samples are considered; the ROC curve is not interpolated.

    Args:
        fake: Labels ``[N]`` in {0, 1}.
        score: Scores float ``[N]``.
        fpr: Largest false positive rate that is allowed, in [0, 1].
    """
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    false_rate, true_rate = _rates(target, values)
    return float(true_rate[np.searchsorted(false_rate, fpr, side="right") - 1])


def balanced_accuracy(fake: ArrayLike, score: ArrayLike, threshold: float = 0.5) -> float:
    """Compute the mean of the true positive rate and the true negative rate, in [0, 1] (Brodersen et al. 2010).

    Samples of ``score`` [N] at or above ``threshold`` are classified as fake.
    """
    target, values = _checked(fake, score)
    if _one_class(target):
        return float("nan")
    said_fake = values >= threshold
    return float((said_fake[target == 1].mean() + (~said_fake[target == 0]).mean()) / 2)


def accuracy(fake: ArrayLike, score: ArrayLike, threshold: float = 0.5) -> float:
    """Compute the share of samples that are classified correctly, in [0, 1].

    Samples of ``score`` [N] at or above ``threshold`` are classified as fake.
    """
    target, values = _checked(fake, score)
    return float(np.mean((values >= threshold) == (target > 0.5))) if len(target) else math.nan


def precision_recall_f1(fake: ArrayLike, score: ArrayLike, threshold: float = 0.5) -> tuple[float, float, float]:
    """Compute precision, recall and F1 score, each in [0, 1]; fake is the positive class.

    Samples of ``score`` [N] at or above ``threshold`` are classified as fake. A value is ``nan`` if its denominator
    is 0.
    """
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
    """Compute the points of a reliability diagram: three arrays ``float64 [B]`` for the B bins that hold a sample.

    All bins have the same share of the samples (Nguyen & O'Connor 2015, arXiv 1508.05154), as far as ties allow: equal
    probabilities are always in the same bin, so that the order of the samples does not matter.

    Args:
        fake: Labels ``[N]`` in {0, 1}.
        p_fake: Predicted probabilities float ``[N]`` in [0, 1].
        bins: Largest number of bins.
        weight: Positive weights of the samples, float ``[N]``; equal weights by default.

    Returns:
        Mean predicted probability, share of fakes, and share of all samples, in each bin.
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
    """Compute the expected calibration error, in [0, 1], over bins of equal mass (Nguyen & O'Connor 2015).

    It is the mean over the bins, weighted by their share of the samples, of the absolute difference between the mean
    predicted probability and the share of fakes. The arguments are those of :func:`reliability`.
    """
    if not np.size(fake):
        return float("nan")
    p_mean, share, mass = reliability(fake, p_fake, bins, weight)
    return float(mass @ np.abs(p_mean - share))


def brier(fake: ArrayLike, p_fake: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Compute the Brier score, in [0, 1]: the mean of ``(p_fake − fake)²`` (Brier 1950).

    The arguments are those of :func:`reliability`.
    """
    target, values = _checked(fake, p_fake)
    return (
        float(np.average((values - target) ** 2, weights=_mass(weight, len(values)))) if len(values) else float("nan")
    )


def nll(fake: ArrayLike, p_fake: ArrayLike) -> float:
    """Compute the mean negative log-likelihood in nats of ``p_fake`` [N], which is clipped to [1e-12, 1 − 1e-12]."""
    target, values = _checked(fake, p_fake)
    if not len(values):
        return float("nan")
    values = np.clip(values, 1e-12, 1 - 1e-12)
    return float(-np.mean(target * np.log(values) + (1 - target) * np.log1p(-values)))


def roc_curve(fake: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """Compute false and true positive rates ``float64 [K]`` at each distinct threshold, from (0, 0) to (1, 1).

    Raises:
        ValueError: The samples are not of both classes, or the arrays are not as the module describes them.
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
    """Compute a confidence interval of ``metric`` by a bootstrap that draws whole groups with replacement.

    Samples of one video or identity are not independent. An interval from samples that are drawn one by one would be
    too narrow.

    Args:
        fake: Labels ``[N]`` in {0, 1}.
        score: Scores float ``[N]``.
        groups: Group of each sample ``[N]``, of any type that can be sorted: video, sequence or identity.
        metric: Function ``metric(fake, score) -> float``.
        n: Number of bootstrap draws.
        seed: Seed for the draws.
        level: Coverage of the interval, in (0, 1).
        rate: Whether the metric lies in [0, 1], see :func:`interval`.

    Returns:
        Lower and upper end of the interval; both are ``nan`` with fewer than two groups, or if no draw has a value.

    Raises:
        ValueError: The arrays are not as the module describes them.
    """
    drawn = grouped_draws(fake, score, groups, metric, n, seed)
    value = metric(*_checked(fake, score)) if len(drawn) else float("nan")
    return interval(value, drawn, independent(fake, groups), level, rate=rate)


def grouped_draws(
    fake: ArrayLike, score: ArrayLike, groups: ArrayLike, metric: Metric, n: int = 1000, seed: int = 0
) -> Floats:
    """Compute ``metric`` on each bootstrap draw of whole groups: ``float64 [D]``, D ≤ n.

    Draws in which the metric is undefined are left out, such as those of a single class. There are no draws, D = 0,
    with fewer than two groups. The arguments are those of :func:`grouped_bootstrap`.

    Raises:
        ValueError: The arrays are not as the module describes them.
    """
    target, values = _checked(fake, score)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if group.shape != target.shape:
        raise ValueError(f"groups has shape {group.shape}, fake {target.shape}")
    count = int(group.max()) + 1 if len(group) else 0
    if count < 2:
        return np.empty(0)
    # The samples are sorted once, so that every draw is sorted already and the metric's own sort is a single pass.
    order = np.argsort(values, kind="stable")
    target, values, group = target[order], values[order], group[order]
    rng = np.random.default_rng(seed)
    drawn = np.empty(n)
    for index in range(n):
        times = np.bincount(rng.integers(count, size=count), minlength=count)[group]
        drawn[index] = metric(np.repeat(target, times), np.repeat(values, times))
    return drawn[~np.isnan(drawn)]


def independent(fake: ArrayLike, groups: ArrayLike) -> list[int]:
    """Count the distinct groups of each class, in ``fake`` [N] and ``groups`` [N]: one number per class that occurs.

    The groups, not the samples, are the independent observations of a class.
    """
    target, group = np.asarray(fake), np.asarray(groups)
    return [len(np.unique(group[target == label])) for label in np.unique(target)]


def interval(
    value: float, drawn: Floats, groups: Sequence[int], level: float = 0.95, *, rate: bool = False
) -> tuple[float, float]:
    """Compute a confidence interval of a metric from the spread of its bootstrap draws.

    Let n be the number of groups in the class that has fewer of them. The interval is ``value ± t · s``, where

    - s is the standard deviation of the draws times √(n / (n − 1)), because draws from n groups vary less than new
      groups would (narrowness bias, Hesterberg 2015);
    - t is the quantile of Student's distribution with n − 1 degrees of freedom for each class.

    The interval of a rate is computed on the scale of its logit, because a value near 0 or 1 has more room on one side.
    If a rate is exactly 0 or 1, no draw differs from it. Its interval has the width
    ``1 − ((1 − level) / 2) ^ (1 / n)``. This is exact for a share (Clopper & Pearson 1934) and conservative for an AUC,
    since n disjoint pairs of groups would all have to be in the right order.

    Args:
        value: Value of the metric on all samples.
        drawn: Values on the draws, float64 ``[D]``.
        groups: Number of groups of each class, see :func:`independent`.
        level: Coverage of the interval, in (0, 1).
        rate: Whether the metric lies in [0, 1].

    Returns:
        Lower and upper end of the interval. Both are ``nan`` with fewer than two groups or draws, or if all draws give
        the same rate between 0 and 1.
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
    """Compute a quantile of Student's distribution, with ``freedom`` rounded down to whole degrees of freedom.

    Up to 50 degrees, the distribution function (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4) is inverted by bisection.
    Above, the expansion of Cornish and Fisher (26.7.5) has a relative error below 1e-4.

    Args:
        share: Probability of a value below the quantile, in (0, 1).
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
    # The distribution function has a closed form in the angle whose tangent is t / sqrt(degrees).
    wanted, low, high = abs(2 * share - 1), 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, degrees) < wanted else (low, angle)
    return math.copysign(math.tan(low) * math.sqrt(degrees), z)


def _within(angle: float, degrees: int) -> float:
    """Return the probability of Student's distribution between -t and t, where ``t = tan(angle) sqrt(degrees)``."""
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
    """Return labels and scores as float64 [N].

    Raises:
        ValueError: The shapes differ, a label is neither 0 nor 1, or a score is not finite.
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
    """Count false and true positives at each distinct threshold, the highest first; the first pair is (0, 0)."""
    order = np.argsort(values, kind="stable")[::-1]
    target, values = target[order], values[order]
    last_of_tie = np.append(np.diff(values) != 0, True)
    true_positives = np.cumsum(target)[last_of_tie]
    seen = np.flatnonzero(last_of_tie) + 1
    return np.append(0.0, seen - true_positives), np.append(0.0, true_positives)


def _rates(target: Floats, values: Floats) -> tuple[Floats, Floats]:
    false_positives, true_positives = _counts(target, values)
    return false_positives / false_positives[-1], true_positives / true_positives[-1]

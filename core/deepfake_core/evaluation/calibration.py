"""Fit a calibration on validation scores: temperature, bias and the abstention band around the threshold 0.5."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.band import MAX_FALSE_ALARMS, upper_end
from deepfake_core.evaluation.grouping import places
from deepfake_registry.manifest import Calibration

Floats = NDArray[np.float64]

MAX_MISSED = 0.10
"""Largest share of fakes with the verdict ``real``, averaged over the families of fakes."""

_LEAST_SCALE = 1e-3
"""Smallest slope of the fitted log-odds, over logits of unit spread. The fit ends at this bound where the likelihood
favours a slope of 0 or a negative one: the scores carry no information."""

_CONSTANT = 1e-12
"""Spread of logits, relative to the largest one, below which they are all the same."""

_FARTHEST = 20.0
"""Distance from the median, in median distances, beyond which a logit counts as one at this distance in the fit."""


def fit_calibration(
    logit: NDArray[np.float64],
    fake: NDArray[np.float64],
    family: NDArray[np.str_],
    fitted_on: str,
    fitted_on_sha256: tuple[str, ...] = (),
    group: NDArray[np.str_] | None = None,
) -> Calibration:
    """Fit temperature and bias by maximum likelihood, then place the abstention band around the threshold 0.5.

    Both classes have the same weight, and so have all families within a class (:func:`balanced_weights`), so that
    P(fake) is stated for even odds; the threshold 0.5, which is not fitted, is then the one with the fewest errors. The
    targets of the fit are Platt's: ``(n₊ + 1) / (n₊ + 2)`` for each of the n₊ fakes and ``1 / (n₋ + 2)`` for each of
    the n₋ real samples, so that few samples, or samples that a logit separates, give no certainty (Platt 1999). The
    temperature is bounded: from a class' median to the other one's, the log-odds rise by no more than the targets do.

    The upper end of the band is the probability that at most 5 % of the real faces reach, on the family where it is
    highest, with 95 % confidence (:func:`~deepfake_core.evaluation.band.upper_end`); a limit over all sources together
    would let the false alarms of a single source rise far beyond 5 %. The lower end is the probability that at most
    10 % of the fakes fall below. Both ends are clipped, to [0.5, 0.99] and [0.01, 0.5]. If the scores do not separate
    fakes from real faces, the band is [0, 1], and every verdict is ``unsure``.

    Args:
        logit: Logits float64 ``[N]``; positive means fake.
        fake: Labels float64 ``[N]`` in {0, 1}; both classes must occur.
        family: Source or kind of each sample, ``[N]``.
        fitted_on: Description of the data, for the record.
        fitted_on_sha256: Hashes of the data, so that a benchmark on the same data can leave out calibrated metrics.
        group: Group of each sample that is not independent of the others in it, such as a video, ``[N]``; by default
            each sample is a group.

    Raises:
        TrainingDataError: A class is missing, or a logit is not finite.
    """
    fakes = int(fake.sum())
    if not 0 < fakes < len(fake):
        raise TrainingDataError(
            f"{fitted_on or 'the validation data'}: {fakes} fakes and {len(fake) - fakes} real samples; a calibration "
            "needs samples of both classes"
        )
    if not np.isfinite(logit).all():
        raise TrainingDataError(
            f"{fitted_on or 'the validation data'}: the network gives logits that are not finite, which nothing can be "
            "calibrated on; lower the learning rate, and train again"
        )
    weight = balanced_weights(fake, family)
    temperature, bias, informative = _platt(logit, fake, weight)
    p = sigmoid(logit / temperature + bias)
    real = fake < 0.5
    high = upper_end(p[real], family[real], None if group is None else group[real]).p_fake if informative else 1.0
    missed = _weighted_quantile(p[~real], weight[~real], MAX_MISSED)
    low = float(np.clip(missed, 0.01, 0.5)) if informative else 0.0
    return Calibration(
        temperature=temperature,
        bias=bias,
        threshold=0.5,
        unsure_low=round(low, 4),
        unsure_high=high,
        fitted_on=fitted_on,
        fitted_on_sha256=fitted_on_sha256,
    )


def evidence_limit(strongest: NDArray[np.float64], family: NDArray[np.str_]) -> float:
    """Compute the probability in [0, 1] above which the evidence map of 5 % of real faces has a place.

    An explanation shows no evidence below it, because real faces have as much. All families have the same weight.

    Args:
        strongest: Highest evidence logit of each of N real faces, float64 ``[N]``.
        family: Source of each face, ``[N]``.
    """
    weight = balanced_weights(np.zeros_like(strongest), family)
    limit = sigmoid(np.array(_weighted_quantile(strongest, weight, 1 - MAX_FALSE_ALARMS)))
    return round(float(np.clip(limit, 1e-4, 1 - 1e-4)), 4)


def balanced_weights(fake: NDArray[np.float64], family: NDArray[np.str_]) -> NDArray[np.float64]:
    """Compute weights ``float64 [N]`` that sum to 1, equal for both classes and for all families within a class.

    Args:
        fake: Labels float64 ``[N]`` in {0, 1}.
        family: Source or kind of each sample, ``[N]``.
    """
    weight = np.zeros_like(fake)
    for value in (0.0, 1.0):
        rows = np.flatnonzero(fake == value)
        found = places(family[rows])
        for here in found.values():
            weight[rows[here]] = 0.5 / len(found) / len(here)
    return weight


def _platt(logit: Floats, fake: Floats, weight: Floats) -> tuple[float, float, bool]:
    """Minimise the weighted cross-entropy to Platt's targets in temperature and bias (Platt 1999; Lin et al. 2007).

    Returns:
        Temperature, bias, and whether the scores separate the classes at all.
    """
    fakes = fake > 0.5
    count, others = int(fakes.sum()), int((~fakes).sum())
    target = np.where(fakes, (count + 1) / (count + 2), 1 / (others + 2))
    # Logits of any size are brought to median 0 and spread 1 first. Nothing is squared before it was divided by the
    # largest one. A single logit far away would decide the fit, because its target is short of certainty.
    peak = float(np.abs(logit).max()) or 1.0
    unit = logit / peak
    centre = float(np.median(unit))
    if np.ptp(unit) < _CONSTANT:
        return 1 / _LEAST_SCALE, -centre * peak * _LEAST_SCALE, False
    spread = float(np.median(np.abs(unit - centre)))
    spread = spread if spread > _CONSTANT else float(np.std(unit))
    unit = np.clip((unit - centre) / spread, -_FARTHEST, _FARTHEST)
    scale, bias = _newton(np.column_stack([unit, np.ones_like(unit)]), np.zeros_like(unit), target, weight)
    gap = _weighted_quantile(unit[fakes], weight[fakes], 0.5) - _weighted_quantile(unit[~fakes], weight[~fakes], 0.5)
    most = (math.log(count + 1) + math.log(others + 1)) / gap if gap > 0 else math.inf
    informative = scale > _LEAST_SCALE
    if not informative or scale > most:
        scale = most if informative else _LEAST_SCALE
        (bias,) = _newton(np.ones((len(unit), 1)), scale * unit, target, weight)
    with np.errstate(over="ignore"):  # the quotient is clipped
        temperature = float(f"{np.clip(spread * peak / np.float64(scale), 1e-300, 1e300):.5g}")
    return temperature, round(float(bias - centre * peak / temperature), 4), informative


def _newton(table: Floats, offset: Floats, target: Floats, weight: Floats) -> Floats:
    """Fit a weighted logistic regression by Newton's method with backtracking (Lin, Lin and Weng 2007).

    Args:
        table: Columns of the regression, float64 ``[N, K]``.
        offset: Log-odds that are added to the fitted ones, float64 ``[N]``.
        target: Targets within (0, 1), float64 ``[N]``.
        weight: Weights, float64 ``[N]``.

    Returns:
        Coefficients, float64 ``[K]``.
    """

    def loss(coefficients: Floats) -> float:
        odds = offset + table @ coefficients
        return float(weight @ (np.logaddexp(0.0, odds) - target * odds))

    found = np.zeros(table.shape[1])
    for _ in range(100):
        p = sigmoid(offset + table @ found)
        gradient = table.T @ (weight * (p - target))
        if np.abs(gradient).max() < 1e-10:
            break
        curvature = (table * (weight * p * (1 - p))[:, None]).T @ table
        step = np.linalg.solve(curvature + 1e-12 * np.eye(len(found)), gradient)
        length, slope, now = 1.0, float(gradient @ step), loss(found)
        if slope < 4 * np.finfo(np.float64).eps * now:  # less than the rounding of a sum over many samples
            break
        while length > 1e-10 and loss(found - length * step) > now - 1e-4 * length * slope:
            length /= 2
        found = found - length * step
    return found


def sigmoid(odds: Floats) -> Floats:
    """Map log-odds to probabilities, float64 of any shape, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * odds))


def _weighted_quantile(values: NDArray[np.float64], weight: NDArray[np.float64], q: float) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(cumulative, q * cumulative[-1])])

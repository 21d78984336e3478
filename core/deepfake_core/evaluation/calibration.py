"""Fit a calibration on validation scores: temperature, bias, threshold and abstention band."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepfake_registry.manifest import Calibration

MAX_FALSE_ALARMS = 0.05
"""Largest share of real faces with the verdict ``fake``, on the source of real faces where it is largest."""

MAX_MISSED = 0.10
"""Largest share of fakes with the verdict ``real``, averaged over the families of fakes."""

_LEAST_SCALE = 1e-3
"""Smallest slope of the fitted probability. The fit ends at this bound where the likelihood favours a slope of 0 or a
negative one: the scores carry no information."""


def fit_calibration(
    logit: NDArray[np.float64],
    fake: NDArray[np.float64],
    family: NDArray[np.str_],
    fitted_on: str,
    fitted_on_sha256: tuple[str, ...] = (),
) -> Calibration:
    """Fit temperature and bias by maximum likelihood, then place the abstention band around the threshold 0.5.

    Both classes have the same weight, and so have all families within a class (:func:`balanced_weights`), so that
    P(fake) is stated for even odds. The upper end of the band is the probability that at most 5 % of the real faces
    exceed, on the family where it is highest; a limit over all sources together would let the false alarms of a single
    source rise far beyond 5 %. The lower end is the probability that at most 10 % of the fakes fall below. Both ends
    are clipped, to [0.5, 0.99] and [0.01, 0.5]. If the scores do not separate fakes from real faces, the band is
    [0, 1], and every verdict is ``unsure``.

    Args:
        logit: Logits float64 ``[N]``; positive means fake.
        fake: Labels float64 ``[N]`` in {0, 1}; both classes must occur.
        family: Source or kind of each sample, ``[N]``.
        fitted_on: Description of the data, for the record.
        fitted_on_sha256: Hashes of the data, so that a benchmark on the same data can leave out calibrated metrics.
    """
    weight = balanced_weights(fake, family)
    temperature, bias = _platt(logit, fake, weight)
    p = 1.0 / (1.0 + np.exp(-(logit / temperature + bias)))
    real = fake < 0.5
    alarms = [np.quantile(p[real & (family == name)], 1 - MAX_FALSE_ALARMS) for name in np.unique(family[real])]
    missed = _weighted_quantile(p[~real], weight[~real], MAX_MISSED)
    high = float(np.clip(max(alarms), 0.5, 0.99))
    low = float(np.clip(missed, 0.01, 0.5))
    if temperature >= 1 / _LEAST_SCALE:
        low, high = 0.0, 1.0
    return Calibration(
        temperature=round(temperature, 4),
        bias=round(bias, 4),
        threshold=0.5,
        unsure_low=round(low, 4),
        unsure_high=round(high, 4),
        fitted_on=fitted_on,
        fitted_on_sha256=fitted_on_sha256,
    )


def balanced_weights(fake: NDArray[np.float64], family: NDArray[np.str_]) -> NDArray[np.float64]:
    """Compute weights ``float64 [N]`` that sum to 1, equal for both classes and for all families within a class.

    Args:
        fake: Labels float64 ``[N]`` in {0, 1}.
        family: Source or kind of each sample, ``[N]``.
    """
    weight = np.zeros_like(fake)
    for value in (0.0, 1.0):
        here = fake == value
        names = np.unique(family[here])
        for name in names:
            chosen = here & (family == name)
            weight[chosen] = 0.5 / len(names) / chosen.sum()
    return weight


def _platt(logit: NDArray[np.float64], fake: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Minimise the weighted cross-entropy in temperature and bias by Newton's method (Platt 1999; Guo et al. 2017).

    Returns:
        Temperature and bias.
    """
    scale, bias = 1.0, 0.0
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(scale * logit + bias, -60, 60)))
        error = weight * (p - fake)
        curvature = weight * p * (1 - p) + 1e-12
        gradient = np.array([(error * logit).sum(), error.sum()])
        hessian = np.array(
            [[(curvature * logit**2).sum(), (curvature * logit).sum()], [(curvature * logit).sum(), curvature.sum()]]
        ) + 1e-9 * np.eye(2)
        step = np.clip(np.linalg.solve(hessian, gradient), -0.5, 0.5)
        scale, bias = max(scale - step[0], _LEAST_SCALE), bias - step[1]
        if np.abs(step).max() < 1e-8:
            break
    return float(1.0 / scale), float(bias)


def _weighted_quantile(values: NDArray[np.float64], weight: NDArray[np.float64], q: float) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(cumulative, q * cumulative[-1])])

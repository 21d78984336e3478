"""From validation scores to a calibrated probability, a threshold and an abstention band."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepfake_registry.manifest import Calibration

MAX_FALSE_ALARMS = 0.05
"""Share of real faces that may be called fake, on the worst source of real faces."""

MAX_MISSED = 0.10
"""Share of fakes that may be called real, over all kinds of fakes alike."""

_LEAST_SCALE = 1e-3
"""Slope of the fitted probability at which a score tells nothing; likelihood would make it 0 or negative."""


def fit_calibration(
    logit: NDArray[np.float64],
    fake: NDArray[np.float64],
    family: NDArray[np.str_],
    fitted_on: str,
    fitted_on_sha256: tuple[str, ...] = (),
) -> Calibration:
    """Fit temperature and bias by likelihood, then place the abstention band.

    Every family counts the same, and within a family both classes do, so that P(fake) is stated for even odds.
    A verdict ``fake`` is given only above the score that at most 5 % of real faces exceed on the *worst* family:
    one threshold for all sources together lets the false alarms of a single source rise far beyond that.
    A verdict ``real`` is given only below the score that at most 10 % of fakes fall short of. A score that does not
    tell fakes from real faces at all gives no verdict: everything is ``unsure``.

    Args:
        logit: ``[N]``, positive = fake.
        fake: ``[N]`` in {0, 1}.
        family: ``[N]``: source or kind of the sample.
        fitted_on: What the data are, for the record.
        fitted_on_sha256: Their hashes, so that a benchmark on them can refuse what they would flatter.
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
    """``float64 [N]``, summing to 1: both classes count alike, and within a class every family."""
    weight = np.zeros_like(fake)
    for value in (0.0, 1.0):
        here = fake == value
        names = np.unique(family[here])
        for name in names:
            chosen = here & (family == name)
            weight[chosen] = 0.5 / len(names) / chosen.sum()
    return weight


def _platt(logit: NDArray[np.float64], fake: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Temperature and bias of least weighted cross-entropy (Platt 1999; Guo et al. 2017), by Newton's method."""
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

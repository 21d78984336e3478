"""What the validation samples say about a calibration: the figures that a package keeps, and its card shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.band import MAX_FALSE_ALARMS, independent, most, upper_end
from deepfake_core.evaluation.calibration import balanced_weights, sigmoid
from deepfake_core.evaluation.grouping import places
from deepfake_registry.manifest import Calibration

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]

MAX_ERROR = 0.05
"""Largest expected calibration error of a score that may be called a probability."""
ENOUGH = 200
"""Samples from which on an expected calibration error means something: with fewer, it is large by chance."""


def validated(
    logit: Floats, fake: Floats, family: Texts, calibration: Calibration, group: Texts | None = None
) -> dict[str, Any]:
    """Measure a calibration on the samples that it was fitted on.

    Args:
        logit: Logits float64 ``[N]``; positive means fake.
        fake: Labels float64 ``[N]`` in {0, 1}; both classes occur.
        family: Source or kind of each sample, ``[N]``.
        calibration: Calibration that was fitted on them.
        group: Group of each sample, ``[N]``; by default each sample is a group.

    Returns:
        For :attr:`~deepfake_registry.manifest.ModelManifest.metrics`:

        - ``calibration``: expected calibration error and Brier score before and after, both classes and all families
          within a class having the same weight; and ``band``, the source that decides its upper end.
        - ``false_alarms``: for each source of real faces ``share``, the share with the verdict ``fake``, with the ends
          of its interval of 95 %, ``low`` and ``high``; ``at_threshold``, the share from the threshold on; and the
          numbers of faces and of independent ``groups``.
        - ``found``: the same for each source of fakes.
    """
    groups = np.arange(len(logit)).astype(str) if group is None else group
    real = fake < 0.5
    p_fake = sigmoid(logit / calibration.temperature + calibration.bias)
    weight = balanced_weights(fake, family)
    before = sigmoid(logit)
    scores = {
        name: _rounded(measure(fake, p, weight=weight))
        for label, measure in (("ece", metrics.ece), ("brier", metrics.brier))
        for name, p in ((f"{label}_before", before), (f"{label}_after", p_fake))
    }
    band = _band(p_fake[real], family[real], groups[real], calibration)
    called = (p_fake >= calibration.unsure_high) & (p_fake >= calibration.threshold)
    shares = {
        key: {
            name: _share(called[rows[here]], p_fake[rows[here]] >= calibration.threshold, groups[rows[here]])
            for name, here in places(family[rows]).items()
        }
        for key, rows in (("false_alarms", np.flatnonzero(real)), ("found", np.flatnonzero(~real)))
    }
    return {"calibration": {**scores, "samples": len(logit), "band": band}, **shares}


def concerns(measured: dict[str, Any]) -> list[str]:
    """Return what is wrong with a calibration by the figures of :func:`validated`, each in a sentence with a remedy."""
    calibration, band = measured["calibration"], measured["calibration"]["band"]
    said = []
    if calibration["ece_after"] > MAX_ERROR and calibration["samples"] >= ENOUGH:
        said.append(
            f"P(fake) is off by {calibration['ece_after']:.3f} on average, more than {MAX_ERROR:g}: train longer, or "
            "on more pictures of the sources with the lowest AUC"
        )
    if band["too_few"]:
        said.append(
            f"too few real faces to bound false alarms on {', '.join(band['too_few'])}: hold out more of them "
            "(validation_share, pairs.validation), or add pictures"
        )
    elif not band["holds"]:
        said.append(
            f"more than {band['bound']:.0%} of the real faces of {band['decided_by']} may get the verdict fake "
            f"({band['upper']:.1%} with 95 % confidence), even at the largest upper end of the band: train on more "
            "real faces like them"
        )
    return said


def summary(measured: dict[str, Any]) -> str:
    """Return the figures of :func:`validated` in a sentence, for a log."""
    calibration, band = measured["calibration"], measured["calibration"]["band"]
    return (
        f"calibration error {calibration['ece_before']:.3f} before, {calibration['ece_after']:.3f} after; of the real "
        f"faces of {band['decided_by']}, which decide the band, {band['share']:.1%} are called fake, at most "
        f"{band['upper']:.1%} with 95 % confidence"
    )


def _band(p_fake: Floats, family: Texts, group: Texts, calibration: Calibration) -> dict[str, Any]:
    """State which real faces decide the upper end of the band, and how many of them lie above it."""
    end = upper_end(p_fake, family, group)
    count = independent(group[end.places])
    share = float(np.mean(p_fake[end.places] >= calibration.unsure_high))
    upper = most(share, count)
    return {
        "decided_by": end.source,
        "faces": len(end.places),
        "groups": count,
        "share": _rounded(share),
        "upper": _rounded(upper),
        "bound": MAX_FALSE_ALARMS,
        "holds": upper <= MAX_FALSE_ALARMS + 1e-9,
        "too_few": list(end.too_few),
    }


def _share(called: NDArray[np.bool_], reached: NDArray[np.bool_], group: Texts) -> dict[str, Any]:
    """Return the share of samples ``[n]`` that are called fake, its interval, and the share at the threshold."""
    low, high = metrics.grouped_bootstrap(np.ones(len(called)), called.astype(float), group, _mean)
    return {
        "share": _rounded(float(called.mean())),
        "low": _rounded(low),
        "high": _rounded(high),
        "at_threshold": _rounded(float(reached.mean())),
        "n": len(called),
        "groups": independent(group),
    }


def _mean(_: Floats, called: Floats) -> float:
    return float(called.mean())


def _rounded(value: float) -> float | None:
    """Return a figure with four decimals; ``None`` where it is undefined, as JSON has no such number."""
    return None if math.isnan(value) else round(value, 4)

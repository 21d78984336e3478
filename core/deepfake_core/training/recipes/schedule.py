"""Learning-rate schedules: the rate and the momentum at each place of a phase, as plain functions of the place."""

from __future__ import annotations

import math

from deepfake_core.contract.recipe import Phase

# The defaults of torch's OneCycleLR: the rate at the start and at the end, and the momentum that mirrors the rate.
_START_DIVISOR, _END_DIVISOR = 25.0, 1e4
_LOW_MOMENTUM, _HIGH_MOMENTUM = 0.85, 0.95


def rate(phase: Phase, step: float, steps: int) -> float:
    """Return the learning rate at ``step`` of a phase of ``steps`` steps, as a fraction of the phase's peak.

    Where the clock ends the phase, ``steps`` is any number that divides the schedule finely, and ``step`` the place
    that has been reached, which may lie between two steps.

    The reductions of a plateau schedule are not included, because they depend on the validations.
    """
    schedule = phase.schedule
    if schedule.name == "one_cycle":
        up, down = _one_cycle(schedule.warmup, step, steps)
        low, end = 1 / _START_DIVISOR, 1 / _START_DIVISOR / _END_DIVISOR
        return _cosine(low, 1.0, up) if down is None else _cosine(1.0, end, down)
    warmup = max(1, round(schedule.warmup * steps)) if schedule.warmup else 0
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if schedule.name == "cosine":
        return _cosine(1.0, 0.0, (step - warmup) / max(1, steps - warmup))
    return 1.0


def momentum(phase: Phase, step: float, steps: int) -> float | None:
    """Return the momentum (Adam's first beta) of the one-cycle schedule at ``step``.

    ``None`` stands for the optimiser's own momentum, which the other schedules keep.
    """
    if phase.schedule.name != "one_cycle":
        return None
    up, down = _one_cycle(phase.schedule.warmup, step, steps)
    low, high = _LOW_MOMENTUM, _HIGH_MOMENTUM
    return _cosine(high, low, up) if down is None else _cosine(low, high, down)


def _one_cycle(warmup: float, step: float, steps: int) -> tuple[float, float | None]:
    """Return the completed share of the rise and, once the fall has begun, of the fall.

    The cycle is that of Smith & Topin 2018 (arXiv 1708.07120); steps are counted as torch counts them.
    """
    peak = warmup * steps - 1
    if peak > 0 and step <= peak:
        return step / peak, None
    return 1.0, (step - max(peak, 0)) / max(1e-9, steps - 1 - max(peak, 0))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

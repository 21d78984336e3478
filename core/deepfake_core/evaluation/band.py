"""The upper end of the abstention band: above it, few real faces of any source may lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfake_core.evaluation.grouping import places

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]

MAX_FALSE_ALARMS = 0.05
"""Largest share of real faces with the verdict ``fake``, on the source of real faces where it is largest."""

HIGHEST = 0.99
"""Largest upper end of a band. With a higher one, hardly any fake would get the verdict ``fake``."""

FEWEST = 59
"""Number of independent faces from which on none above the band bounds their share by 5 % with 95 % confidence."""

_MISTAKE = 0.05
"""Probability that a one-sided interval does not hold the share."""
_STEPS = 10_000
"""Ends of a band have four decimals."""


@dataclass(frozen=True, slots=True)
class UpperEnd:
    """Upper end of an abstention band, and the real faces that decide it.

    Attributes:
        p_fake: Probability from which on the verdict is ``fake``.
        source: Source that decides it; of a pool, the names of its sources with ``" + "`` between them.
        places: Places of the faces of that source among the real faces, ``intp [n]``.
        too_few: Sources with too few faces for an interval, which not even together have enough.
    """

    p_fake: float
    source: str
    places: NDArray[np.intp]
    too_few: tuple[str, ...] = ()


def upper_end(p_fake: Floats, family: Texts, group: Texts | None = None) -> UpperEnd:
    """Find the lowest probability that at most 5 % of the real faces reach, on each source.

    What is bounded is not the share in the validation data but the upper end of its one-sided interval of 95 %
    (Clopper & Pearson 1934): of 200 faces, 4 may lie above the band, and of 59 faces none. Groups, such as videos, are
    counted in place of faces, because frames of one video are not independent. Sources with fewer than 59 groups are
    pooled for the interval; on each of them, at most 5 % of its own faces may lie above, too.

    Args:
        p_fake: Probabilities of N real faces, float64 ``[N]``.
        family: Source of each face, ``[N]``.
        group: Group of each face, ``[N]``; by default each face is a group.

    Returns:
        The upper end, at most 0.99 even where more faces lie above it than stated here.
    """
    groups = np.arange(len(p_fake)) if group is None else group
    ends, where, small = {}, places(family), []
    for name, here in where.items():
        if (count := independent(groups[here])) >= FEWEST:
            ends[name] = _reached_by(p_fake[here], allowed(count) / count)
        else:
            ends[name] = _above(float(np.quantile(p_fake[here], 1 - MAX_FALSE_ALARMS)))
            small.append(name)
    too_few: tuple[str, ...] = ()
    if small:
        pool = np.concatenate([where[name] for name in small])
        if (count := independent(groups[pool])) >= FEWEST:
            name = " + ".join(small)
            where[name], ends[name] = pool, max(ends.get(name, 0.0), _reached_by(p_fake[pool], allowed(count) / count))
        else:
            too_few = tuple(small)
    source = max(ends, key=ends.__getitem__)
    return UpperEnd(round(min(max(ends[source], 0.5), HIGHEST), 4), source, where[source], too_few)


def independent(group: Sequence[str] | NDArray[np.generic]) -> int:
    """Return the number of independent faces: of distinct groups in ``group`` [N]."""
    return len(np.unique(group))


def allowed(count: int) -> int:
    """Return how many of ``count`` independent faces may lie above a band: -1 where even none would be too many."""
    least = -1
    while least < count and _at_most(least + 1, count, MAX_FALSE_ALARMS) <= _MISTAKE:
        least += 1
    return least


def most(share: float, count: int) -> float:
    """Return the upper end, in [0, 1], of the one-sided interval of 95 % of a share of ``count`` independent faces."""
    found, low, high = math.ceil(share * count - 1e-9), 0.0, 1.0
    if found >= count:
        return 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(found, count, middle) > _MISTAKE else (low, middle)
    return high


def _reached_by(p_fake: Floats, share: float) -> float:
    """Return the lowest probability of four decimals that at most this share of the faces reach."""
    ordered = np.sort(p_fake)[::-1]
    return _above(float(ordered[min(math.floor(share * len(ordered) + 1e-9), len(ordered) - 1)]))


def _above(p_fake: float) -> float:
    """Return the next probability of four decimals that is higher."""
    return (math.floor(p_fake * _STEPS + 1e-6) + 1) / _STEPS


def _at_most(found: int, count: int, share: float) -> float:
    """Return the probability of at most ``found`` of ``count``, each of which occurs with the probability ``share``."""
    if share in (0.0, 1.0):
        return 1.0 if share == 0.0 or found >= count else 0.0
    log = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * math.log(share)
        + (count - k) * math.log1p(-share)
        for k in range(found + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, log)))

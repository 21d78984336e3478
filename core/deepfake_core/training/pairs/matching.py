"""Labelled pairs that are drawn so that real faces and fakes agree in a number, such as their sharpness.

The detector would otherwise learn the number in place of the forgery. Nothing of a picture is changed: what changes is
how often each fake and each real face is drawn, so that both classes of a source have the same distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 20
"""Most bins of the number. They hold equally many faces of the smaller class, or of both together."""

FEWEST = 10
"""Faces of a bin, where there are enough of them for more than one bin."""

VARIETY = 0.5
"""Share of the variety of fakes and real faces that is kept at least where fakes stand beside their own originals."""

COMMON = 0.05
"""Share of both distributions that overlaps at least; classes that have less in common are not matched."""

_STEPS = 200

Rows = NDArray[np.intp]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Matching:
    """How the labelled pairs of one source are drawn: which fakes, and which real face beside each.

    Attributes:
        often: How often each fake is drawn, ``float64 [n]`` with the mean 1; 0 for fakes beside which no real face
            agrees.
        first: First place of the partners of each fake in ``partners``, ``intp [n]``.
        last: Place after the last one, ``intp [n]``.
        partners: Places of real faces in the pool, ``intp [m]``.
        weights: Weights of the partners, ``float64 [m]``, by which one of a fake's partners is drawn.
    """

    often: Doubles
    first: Rows
    last: Rows
    partners: Rows
    weights: Doubles

    @property
    def effective(self) -> float:
        """Share of the fakes which, drawn equally often, would give the same variety (Kish 1965)."""
        return _effective(self.often) / len(self.often)


def matching(of_fakes: NDArray[np.floating], of_pool: NDArray[np.floating], first: Rows, last: Rows) -> Matching:
    """Return how pairs are drawn so that real faces and fakes agree in a number.

    A fake beside which any real face of the pool may stand gets one of the same bin; bins are drawn by what both
    classes have of them. Where the classes have next to nothing in common, all stays as it is.

    A fake with partners of its own, such as its original, keeps them: which of these pairs come is then drawn so that,
    over many draws, both classes have the same distribution. Where most fakes are softer than their originals, this
    cannot be reached: the distributions then come as close as :data:`VARIETY` allows.

    Args:
        of_fakes: The number for each fake, ``[n]``.
        of_pool: The number for each real face of the pool, ``[m]``, in the order in which partners are neighbours.
        first: First place in the pool of the partners of each fake, ``intp [n]``.
        last: Place after the last one, ``intp [n]``; the whole pool stands for no partners of its own.
    """
    own = last - first < len(of_pool)
    often = np.zeros(len(of_fakes))
    weights = np.ones(len(of_pool))
    partners: Rows = np.arange(len(of_pool))
    first, last = first.copy(), last.copy()
    if own.any():
        often[own], weights = _among_own(of_fakes[own], of_pool, first[own], last[own])
    if not own.all():
        for edges in (_edges(of_fakes[~own], of_pool), np.empty(0)):
            of_bin, bins = np.digitize(of_pool, edges), np.digitize(of_fakes[~own], edges)
            real, fake = (np.bincount(found, minlength=len(edges) + 1) for found in (of_bin, bins))
            common = np.minimum(real / real.sum(), fake / fake.sum())
            if common.sum() >= COMMON:
                break
        often[~own] = (common / np.maximum(fake, 1))[bins]
        order = np.argsort(of_bin, kind="stable")
        until = len(of_pool) + np.cumsum(real)
        first[~own], last[~own] = (until - real)[bins], until[bins]
        partners, weights = np.concatenate([partners, order]), np.concatenate([weights, np.ones(len(order))])
    for kind in (own, ~own):
        if (total := often[kind].sum()) > 0:
            often[kind] *= kind.sum() / total
    return Matching(often, first, last, partners, weights)


def _edges(one: NDArray[np.floating], other: NDArray[np.floating]) -> Doubles:
    """Return the inner edges of bins that hold equally many of both, whose numbers count equally; NaN is left out."""
    one, other = (np.sort(values[np.isfinite(values)]) for values in (one, other))
    few = min(len(one), len(other))
    steps = np.linspace(0, 1, min(BINS, max(1, few // FEWEST)) + 1)[1:-1]
    if not few or not len(steps):
        return np.empty(0)
    both = np.concatenate([one, other])
    share = np.concatenate([np.full(len(part), 0.5 / len(part)) for part in (one, other)])
    order = np.argsort(both, kind="stable")
    found = np.searchsorted(np.cumsum(share[order]), steps)
    return np.unique(both[order][np.minimum(found, len(both) - 1)].astype(np.float64))


def _among_own(
    of_fakes: NDArray[np.floating], of_pool: NDArray[np.floating], first: Rows, last: Rows
) -> tuple[Doubles, Doubles]:
    """Return how often fakes are drawn, ``[n]``, and the weights of the pool, ``[m]``: both classes then agree.

    The weight of a pair is the product of a factor for the bin of its real face and the inverse factor for the bin of
    its fake, which changes the weights as little as the aim allows (entropy balancing, Hainmueller 2012).
    """
    used = np.zeros(len(of_pool) + 1)
    np.add.at(used, first, 1)
    np.add.at(used, last, -1)
    edges = _edges(of_fakes, of_pool[np.cumsum(used)[:-1] > 0])
    bins, of_bin = np.digitize(of_fakes, edges), np.digitize(of_pool, edges)
    many = len(edges) + 1
    before = np.zeros((len(of_pool) + 1, many), np.int32)
    np.cumsum(of_bin[:, None] == np.arange(many), 0, out=before[1:])
    count = last - first
    share = (before[last] - before[first]) / count[:, None]  # of the partners of each fake, by bin
    factor, best, least = np.zeros(many), None, 0.0
    for _ in range(_STEPS):
        often, weights = np.exp(-factor)[bins] * (share @ np.exp(factor)), np.exp(factor)[of_bin]
        each = np.zeros(len(of_pool) + 1)  # how often each real face is drawn
        np.add.at(each, first, np.exp(-factor)[bins] / count)
        np.add.at(each, last, -np.exp(-factor)[bins] / count)
        varied = min(_effective(often), _effective(np.cumsum(each)[:-1].clip(0) * weights))
        least = least or VARIETY * varied
        if best is not None and varied < least:
            break
        best = often, weights
        fake = np.bincount(bins, often, many)
        real = (np.exp(-factor)[bins] @ share) * np.exp(factor)
        floor = 1e-6 * fake.sum()
        factor = factor + 0.5 * np.log((fake + floor) / (real + floor))
    assert best is not None
    return best


def _effective(often: Doubles) -> float:
    """Return the number of equally frequent things that would give the same variety (Kish 1965)."""
    return float(often.sum() ** 2 / (often**2).sum()) if often.any() else 0.0


class Weighted:
    """Places that are drawn by weights, from all of them or within ranges.

    Args:
        weights: ``float64 [n]``, none below 0.
    """

    def __init__(self, weights: Doubles) -> None:
        self._until = np.concatenate([[0.0], np.cumsum(weights)])

    def draw(self, chance: Doubles, first: Rows | int = 0, last: Rows | int | None = None) -> Rows:
        """Return a place from ``first`` to ``last - 1`` for each chance in [0, 1), ``intp [k]``.

        Args:
            chance: ``float64 [k]``.
            first: First places of the ranges, whose weights are not all 0.
            last: Places after the last ones; by default the end.
        """
        last = len(self._until) - 1 if last is None else last
        low, high = self._until[first], self._until[last]
        place = np.searchsorted(self._until, low + chance * (high - low), side="right") - 1
        found: Rows = np.clip(place, first, np.asarray(last) - 1)
        return found

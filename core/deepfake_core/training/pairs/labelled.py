"""Which labelled fakes become pairs, how often, and which real faces stand beside them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from deepfake_core.contract.recipe import Pairs
from deepfake_core.datasets.sources import shared_reals
from deepfake_core.training.pairs.faces import Faces
from deepfake_core.training.pairs.matching import Weighted, matching

OTHERS = "other sources"
"""Name in messages of the kind that the sources are which no kind names."""

Rows = NDArray[np.intp]
_Name = TypeVar("_Name", bound=Hashable)


class Labelled:
    """Labelled fakes, each beside a real face: of its own group, else of its family, else of its source.

    For a source without real faces stand those of its collection, else those that its kind names. Fakes for which there
    are none are left out: the source alone would tell that they are fake.

    Args:
        faces: Faces of a store.
        real: Rows of the real faces that may be used, ``intp [n]``.
        fake: Rows of the labelled fakes that may be used, ``intp [m]``.
        pairs: Settings with the kinds of labelled fakes; the sources that they do not name are one more kind.
        agreement: Function of the rows of fakes and of real faces of one source that returns for each the number in
            which they are drawn to agree; ``None`` where they are drawn whatever it is.

    Attributes:
        rows: Rows of the fakes that are drawn, source by source, ``intp [k]``.
        kinds: Kind → source → weight within the kind; each has the sum 1.
        shares: Share of each kind, with the sum 1.
        variety: Share of the fakes of each source which, drawn equally often, would be as varied as those that are
            drawn in agreement with real faces; empty without an agreement.
        unpaired: Number of the fakes that are left out, by source.
        lowered: Share of all pairs that a kind would have without the limit of its visits, where it has less.
    """

    def __init__(
        self,
        faces: Faces,
        real: Rows,
        fake: Rows,
        pairs: Pairs,
        agreement: Callable[[Rows, Rows], tuple[NDArray[np.floating], NDArray[np.floating]]] | None = None,
    ) -> None:
        code = {name: number for number, name in enumerate(faces.source_names)}
        of_real, of_fake = faces.sources[real], faces.sources[fake]
        reals, fakes = ({faces.source_names[number] for number in np.unique(of).tolist()} for of in (of_real, of_fake))
        kind_of = {name: kind for kind in pairs.kinds for name in kind.sources}
        beside = {name: [name] for name in reals & fakes}
        beside |= shared_reals(reals, fakes, pairs.beside)
        self.unpaired = {name: int((of_fake == code[name]).sum()) for name in sorted(fakes - beside.keys())}
        self.lowered: dict[str, float] = {}
        self.variety: dict[str, float] = {}
        self._parts: dict[str, slice] = {}
        self.kinds: dict[str, dict[str, float]] = {}
        shares: dict[str, float] = {}
        none = np.empty(0, np.intp)
        found: list[tuple[NDArray[np.generic], ...]] = [(none, np.empty(0), none, none, none, np.empty(0))]
        count = many = 0
        for name in sorted(beside):
            kind = kind_of.get(name)
            if kind is not None and not kind.share:
                continue
            here, pool = fake[of_fake == code[name]], real[np.isin(of_real, [code[other] for other in beside[name]])]
            first, last, pool = _partners(faces, here, pool)
            often, weights = np.ones(len(here)), np.ones(len(pool))
            if agreement is not None:
                matched = matching(*agreement(here, pool), first, last)
                often, weights = matched.often, matched.weights
                self.variety[name] = matched.effective
                first, last, pool = matched.first, matched.last, pool[matched.partners]
                if not often.any():
                    self.unpaired[name] = len(here)
                    continue
            found.append((here, often / often.sum(), many + first, many + last, pool, weights))
            self._parts[name] = slice(count, count + len(here))
            count, many = count + len(here), many + len(pool)
            group = OTHERS if kind is None else kind.name
            self.kinds.setdefault(group, {})[name] = len(here) ** 0.5
            shares[group] = 1.0 if kind is None else kind.share
        columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
        self.rows, self._often, self._first, self._last, self._partners, weights = columns
        self._beside = Weighted(weights)
        self.kinds = {name: _with_sum_1(sources) for name, sources in self.kinds.items()}
        self.weigh(shares)

    def __len__(self) -> int:
        return len(self.rows)

    def weigh(self, shares: Mapping[str, float]) -> None:
        """Give the kinds other shares; they need not sum to one."""
        self.shares = _with_sum_1(shares)
        self.chance: NDArray[np.float64] = self._often.copy()
        for kind, sources in self.kinds.items():
            for name, weight in sources.items():
                self.chance[self._parts[name]] *= self.shares[kind] * weight
        self._fakes = Weighted(self.chance)

    def most(self, kind: str) -> float:
        """Return the share that the fake which is drawn most often has of the draws of its kind."""
        chance = max(self.chance[self._parts[name]].max() for name in self.kinds[kind])
        return float(chance / self.shares[kind])

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources of the fakes that are drawn."""
        return tuple(name for kind, sources in self.kinds.items() if self.shares[kind] for name in sources)

    def count(self, source: str) -> int:
        """Return the number of fakes of a source."""
        return len(self.rows[self._parts[source]])

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Rows, Rows]:
        """Draw n pairs: the rows of the real faces and of the fakes, each ``intp [n]``."""
        place = self._fakes.draw(rng.random(n))
        partner = self._beside.draw(rng.random(n), self._first[place], self._last[place])
        return self._partners[partner], self.rows[place]

    def described(self, share: float, drawn: int | None) -> Iterator[str]:
        """Yield a line about each kind, and one about the fakes that are left out.

        Args:
            share: Share of the labelled fakes among all pairs.
            drawn: Number of pairs that the run draws; ``None`` where it is not known.
        """
        for kind, sources in sorted(self.kinds.items()):
            of_kind = share * self.shares[kind]
            parts = []
            for name, weight in sources.items():
                times = "" if drawn is None else f", each drawn {of_kind * weight * drawn / self.count(name):.3g} times"
                parts.append(f"{name} ({self.count(name):,}{times})")
            named = "" if self.kinds.keys() == {OTHERS} else f" of {kind}"
            lowered = f", not {self.lowered[kind]:.1%} because of pairs.visits" if kind in self.lowered else ""
            yield f"labelled fakes{named}: {of_kind:.1%} of the pairs{lowered}: {', '.join(parts)}"
        if self.variety:
            found = ", ".join(f"{name} {share:.0%}" for name, share in self.variety.items())
            yield f"labelled pairs are matched; the fakes that are drawn are as varied as this share of them: {found}"
        if self.unpaired:
            found = ", ".join(f"{name} ({count:,})" for name, count in self.unpaired.items())
            yield (
                f"labelled fakes without real faces of their own source are left out: {found}; pairs.kinds can put "
                "them beside those of other sources"
            )


def limited(shares: Mapping[_Name, float], most: Mapping[_Name, float]) -> dict[_Name, float]:
    """Return shares with the sum 1 of which none is above its limit, as far as the limits allow.

    What is taken from one goes to the others in proportion.

    Args:
        shares: Shares; they need not sum to one.
        most: Largest share of those that have a limit.
    """
    free, kept = {name: share for name, share in shares.items() if share}, dict[_Name, float]()
    while free:
        left = 1 - sum(kept.values())
        free = {name: left * share for name, share in _with_sum_1(free).items()}
        above = {name: most[name] for name, share in free.items() if share > most.get(name, 1.0)}
        if not above:
            break
        kept |= above
        free = {name: share for name, share in free.items() if name not in above}
    return _with_sum_1(kept | free)


def _with_sum_1(shares: Mapping[_Name, float]) -> dict[_Name, float]:
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def _partners(faces: Faces, fake: Rows, real: Rows) -> tuple[Rows, Rows, Rows]:
    """Return the first and the last place of each fake's partners, ``intp [n]``, and the real faces in their order."""
    families, groups = faces.families, faces.groups
    real = real[np.lexsort((groups[real], families[real]))]
    family, wanted = families[real], families[fake]
    low, high = (np.searchsorted(family, wanted, side) for side in ("left", "right"))
    # All rows of a group are of one family.
    many = int(max(groups[real].max(initial=0), groups[fake].max(initial=0))) + 1
    group, own = (families[rows].astype(np.int64) * many + groups[rows] for rows in (real, fake))
    near, far = (np.searchsorted(group, own, side) for side in ("left", "right"))
    low, high = np.where(far > near, near, low), np.where(far > near, far, high)
    return np.where(high > low, low, 0), np.where(high > low, high, len(real)), real

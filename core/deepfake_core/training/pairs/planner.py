"""Which faces become pairs, and of which family: the part of a draw that depends on the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_core.contract.recipe import Pairs, PseudoFakes
from deepfake_core.data.crops.neighbours import COUNT, normed
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.degrade import Floats, Image, draw_crop, draw_degradation, draw_size, uniform
from deepfake_core.training.pairs.agreement import Agreement
from deepfake_core.training.pairs.draws import (
    FAMILIES,
    Blend,
    Chunk,
    Family,
    aligned,
    draw_change,
    draw_detail,
    draw_mask,
    draw_mismatch,
    draw_move,
    draw_swapper,
)
from deepfake_core.training.pairs.faces import MARGIN, Faces
from deepfake_core.training.pairs.labelled import Labelled, limited

FEW = 4
"""Number of neighbours in use below which the donor of a composite is looked for among other faces."""

SIZES = (64.0, 256.0)
"""Smallest and largest face to which the pictures of pairs are brought before they are degraded, in pixels."""

CANDIDATES = 64
"""Number of random faces of which the most similar one is a donor where there are few neighbours."""

EQUAL = Pairs(pseudo=PseudoFakes(self_blend=1.0, composite=1.0, reconstruct=1.0, labelled=1.0))
"""Settings by which every family has the same share; validation pairs are made by them."""

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class PairSource:
    """The faces and reconstructions that pairs are made from.

    Attributes:
        faces: Faces of a store.
        rows: Rows of the faces that may be used, ``intp [n]``.
        decoders: Indices of the autoencoders that may be used; empty where there are none.
        reconstructed: Rows that the autoencoders can reconstruct, ``intp [m]`` ascending; ``None`` for all.
        reconstruct: Function of a row and the index of an autoencoder that returns the reconstruction of a face,
            ``uint8 [S, S, 3]`` RGB; ``None`` where only a device makes pictures.
        agreement: What the real faces and the fakes of labelled pairs are drawn to agree in; ``None`` for nothing.
    """

    faces: Faces
    rows: Rows
    decoders: tuple[int, ...] = ()
    reconstructed: Rows | None = None
    reconstruct: Callable[[int, int], Image] | None = None
    agreement: Agreement | None = None


class Planner:
    """Draws chunks of pairs. It has no state that changes: the generator alone decides a chunk.

    Args:
        source: Faces to make pairs from.
        pairs: Settings of the recipe. Families that cannot be made are left out.
        size: Side of the detector's input in pixels.
        margin: Crop margin of the detector, around which crops vary.
        cells: Side of the evidence map, in cells, at this size.
        drawn: Number of pairs that the run draws, for ``pairs.visits``; ``None`` where it is not known.

    Attributes:
        source: Faces to make pairs from.
        real: Rows of the real faces, ``intp [n]`` ascending.
        labelled: Labelled fakes.
        shares: Share of each family, with the sum 1.

    Raises:
        TrainingDataError: There are no real faces with landmarks, or no family can be made.
    """

    def __init__(
        self, source: PairSource, pairs: Pairs, *, size: int, margin: float, cells: int, drawn: int | None = None
    ) -> None:
        self.source, self.pairs, self.size, self.margin, self.cells = source, pairs, size, margin, cells
        faces = source.faces
        rows = np.sort(source.rows)
        rows = rows[faces.usable[rows]]
        fake = faces.fake[rows] != 0
        self.real = rows[~fake]
        if not len(self.real):
            raise TrainingDataError("there are no real faces with landmarks to train on")
        self._real = _BySource(self.real, faces.sources[self.real])
        self._known = self._real
        if source.reconstructed is not None:
            known = np.intersect1d(self.real, source.reconstructed)
            self._known = _BySource(known, faces.sources[known])
        self.labelled = Labelled(faces, self.real, rows[fake], pairs, source.agreement)
        possible, shares = self.families(), pairs.pseudo.model_dump()
        self.shares: dict[Family, float] = {name: shares.get(name, 0.0) for name in possible if shares.get(name)}
        if not (total := sum(self.shares.values())):
            raise TrainingDataError(
                f"the recipe's pairs.pseudo asks for {', '.join(name for name in FAMILIES if shares.get(name))} alone, "
                f"but these faces give {', '.join(possible)} only; raise the share of one of them"
            )
        self.shares = {name: share / total for name, share in self.shares.items()}
        if drawn and pairs.visits and "labelled" in self.shares:
            self._limit_visits(pairs.visits / drawn)

    def plain(self) -> Planner:
        """Return a planner of the same faces whose labelled pairs are drawn without matching and mixing."""
        source, pairs = replace(self.source, agreement=None), self.pairs.model_copy(update={"mix": 0.0})
        return Planner(source, pairs, size=self.size, margin=self.margin, cells=self.cells)

    def families(self) -> tuple[Family, ...]:
        """Return the families that can be made from the source."""
        groups = self.source.faces.groups[self.real]
        possible = {
            "self_blend": True,
            "composite": len(self.real) > COUNT and bool((groups != groups[0]).any()),
            "reconstruct": bool(self.source.decoders) and len(self._known) > 0,
            "labelled": len(self.labelled) > 0,
        }
        return tuple(name for name in FAMILIES if possible[name])

    def draw(self, rng: np.random.Generator, n: int, family: Family | None = None, *, size: int | None = None) -> Chunk:
        """Draw n pairs.

        Args:
            rng: Generator that decides the pairs.
            n: Number of pairs, at least 1.
            family: Family of the fakes; drawn by the shares by default.
            size: Side of the pictures in pixels; that of the detector's input by default.
        """
        size = size or self.size
        if family is None:
            family = list(self.shares)[int(rng.choice(len(self.shares), p=list(self.shares.values())))]
        autoencoder, blend = None, None
        if family == "labelled":
            rows, others = self.labelled.draw(rng, n)
            if self.pairs.mix and rng.random() < self.pairs.mix:
                blend = self._mixed(rng, rows, others)
        elif family == "reconstruct":
            rows = others = self._known.draw(rng, n)
            autoencoder = self._decoder(rng)
        else:
            rows, others, autoencoder, blend = self._blend(rng, n, family)
        common = draw_size(rng, (SIZES[0] * MARGIN, SIZES[1] * MARGIN), strength=self.pairs.degrade)
        crop = draw_crop(rng, n, self.margin / MARGIN, oversampling=self.oversampling(size, common.side))
        detail = draw_detail(rng, family)
        chain = draw_degradation(
            rng, n, size, common=common, colour=True, crop=crop, detail=detail, strength=self.pairs.degrade
        )
        cells = max(1, self.cells * size // self.size)
        return Chunk(family, size, cells, rows, others, autoencoder, blend, chain)

    def oversampling(self, size: int, side: int | None = None) -> int:
        """Return how many samples along each axis become one pixel of a picture whose side has ``size`` pixels.

        Args:
            size: Side of the picture.
            side: Side of the crop that it is taken of; that of the stored one by default.
        """
        return max(1, round((side or self.source.faces.side) * min(1.0, self.margin / MARGIN) / size))

    def _blend(self, rng: np.random.Generator, n: int, family: Family) -> tuple[Rows, Rows, int | None, Blend]:
        composite = family == "composite"
        # The target of a composite stays as it is in the dataset, and half of the composites have no mismatch at all.
        of: Literal["source", "target"] = "source" if composite or rng.random() < 0.5 else "target"
        change = None if composite and rng.random() < 0.5 else draw_change(rng)
        # Half of the sources come from a swapper, which makes them soft enough.
        swapped, autoencoder = rng.random() < 0.5, None
        if swapped and of == "source" and change in ("resample", "blur"):
            change = "none" if rng.random() < 0.5 else None
        if change == "autoencoder":
            # The target is a real face: what reconstructs it makes it a fake.
            of = "source"
            # A donor is found after its target, so that stored reconstructions may not have it.
            if self.source.decoders and len(self._known) and not (composite and self._known is not self._real):
                autoencoder = self._decoder(rng)
        rows = (self._real if autoencoder is None else self._known).draw(rng, n)
        targets = 2 * self.source.faces.points[rows] - 1
        others = self._donors(rng, rows, targets) if composite else rows
        move = aligned(targets, 2 * self.source.faces.points[others] - 1) if composite else draw_move(rng, n)
        matched = rng.random(n) < (0.85 if composite else 0.0)
        mismatch = None if change is None else draw_mismatch(rng, n, of, change)
        mask = draw_mask(rng, targets, parts=0.6 if composite else 0.3, faded=not composite)
        swapper = None
        if swapped:
            face = self.source.faces.side / MARGIN
            swapper = draw_swapper(rng, n, face, reconstructed=autoencoder is not None)
        return rows, others, autoencoder, Blend(move, matched, mismatch, swapper, mask)

    def _mixed(self, rng: np.random.Generator, rows: Rows, others: Rows) -> Blend:
        """Draw what labelled fakes get back of their real faces: some part, with a soft edge."""
        points = self.source.faces.points
        targets, sources = 2 * points[others] - 1, 2 * points[rows] - 1
        mask = draw_mask(rng, targets, parts=1.0, faded=False)
        n = len(rows)
        mask = replace(mask, second=uniform(rng, 1.5, 4, n), hardness=np.ones(n, np.float32))
        return Blend(aligned(targets, sources), np.ones(n, bool), mismatch=None, swapper=None, mask=mask)

    def _limit_visits(self, most: float) -> None:
        """Lower the share of each kind of which one labelled fake would have more than ``most`` of all draws."""
        kinds = self.labelled.shares
        shares: dict[tuple[Family, str], float] = {
            (family, kind): share * part
            for family, share in self.shares.items()
            for kind, part in (kinds.items() if family == "labelled" else [("", 1.0)])
        }
        limits: dict[tuple[Family, str], float] = {
            ("labelled", kind): most / self.labelled.most(kind) for kind in kinds
        }
        found = limited(shares, limits)
        self.labelled.lowered = {key[1]: shares[key] for key in limits if shares[key] > limits[key]}
        self.labelled.weigh({kind: found["labelled", kind] for kind in kinds})
        self.shares = {family: sum(found[key] for key in found if key[0] == family) for family in self.shares}

    def _decoder(self, rng: np.random.Generator) -> int:
        return self.source.decoders[int(rng.integers(len(self.source.decoders)))]

    def _donors(self, rng: np.random.Generator, rows: Rows, points: Floats) -> Rows:
        """Draw, for each of n real faces, one of the most similar faces in use, ``intp [n]``."""
        faces = self.source.faces
        kept = faces.store.neighbours
        chance = rng.random(len(rows))
        donors = np.full(len(rows), -1, np.intp)
        if kept is not None:
            near = kept[rows].astype(np.intp)
            place = np.minimum(np.searchsorted(self.real, near), len(self.real) - 1)
            in_use = self.real[place] == near
            count = in_use.sum(1)
            chosen = (np.cumsum(in_use, 1) > (chance * count)[:, None].astype(np.intp)).argmax(1)
            donors = np.where(count >= FEW, near[np.arange(len(rows)), chosen], -1)
        if len(few := np.flatnonzero(donors < 0)):
            others = self.real[rng.integers(len(self.real), size=(len(few), CANDIDATES))]
            shapes = normed(faces.points[others.ravel()]).reshape(len(few), CANDIDATES, -1)
            likeness = (shapes @ normed(points[few])[..., None])[..., 0]
            likeness[faces.groups[others] == faces.groups[rows[few]][:, None]] = -np.inf
            donors[few] = others[np.arange(len(few)), likeness.argmax(1)]
        return donors


class _BySource:
    """Rows that are drawn by their source; the weight of a source is the square root of its size.

    A large source thus does not outweigh all others.
    """

    def __init__(self, rows: Rows, sources: NDArray[np.integer]) -> None:
        order = np.argsort(sources, kind="stable")
        self.rows = rows[order]
        self._start = np.flatnonzero(np.diff(sources[order], prepend=-1))
        self._count = np.diff(self._start, append=len(rows))
        weights = np.sqrt(self._count)
        self._until = np.cumsum(weights) / max(weights.sum(), 1)

    def __len__(self) -> int:
        return len(self.rows)

    def places(self, rng: np.random.Generator, n: int) -> Rows:
        """Draw n places in ``rows``."""
        source = np.minimum(np.searchsorted(self._until, rng.random(n), side="right"), len(self._count) - 1)
        return self._start[source] + (rng.random(n) * self._count[source]).astype(np.intp)

    def draw(self, rng: np.random.Generator, n: int) -> Rows:
        """Draw n rows."""
        return self.rows[self.places(rng, n)]

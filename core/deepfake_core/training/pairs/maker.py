"""Makers of pairs: a real face and a fake of a given family, decided by a random generator alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepfake_core.datasets.sources import shared_reals
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.grouping import places
from deepfake_core.training.data.degrade import Image
from deepfake_core.training.pairs.blend import composite, self_blend
from deepfake_core.training.pairs.face_table import FaceTable

NEIGHBOURS = 40
"""Number of faces of the most similar shape from which the donor of a composite is drawn."""

COMPARED = 16_384
"""Most faces whose shape a face is compared with: the time grows with the number of faces, not with its square."""

FAMILIES = ("self_blend", "composite", "reconstruct", "labelled")
"""Families of fakes, as :class:`~deepfake_core.contract.recipe.PseudoFakes` names them."""


@dataclass(frozen=True)
class PairSource:
    """The faces and reconstructions that pairs are made from.

    Attributes:
        table: Faces of the dataset.
        pixels: Stored crops of the N faces, ``uint8 [N, S, S, 3]`` RGB.
        rows: Rows of the table that may be used, ``intp [n]``.
        reconstructions: Reconstructions by each decoder, ``uint8 [m, S, S, 3]`` RGB; empty where there are none.
        reconstructed_rows: Row of the table of each reconstruction, ``intp [m]``.
        decoders: Indices of the decoders that may be used.
    """

    table: FaceTable
    pixels: NDArray[np.uint8]
    rows: NDArray[np.intp]
    reconstructions: Sequence[NDArray[np.uint8]] = ()
    reconstructed_rows: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    decoders: tuple[int, ...] = ()


class PairMaker:
    """Maker of pairs of a real face and a fake of a given family. It has no state that changes.

    Args:
        source: Faces and reconstructions to make pairs from.

    Raises:
        TrainingDataError: There are no real faces.
    """

    def __init__(self, source: PairSource) -> None:
        self.source = source
        table, rows = source.table, source.rows
        self.real = rows[table.fake[rows] == 0]
        if len(self.real) == 0:
            raise TrainingDataError("there are no real faces to train on")
        self._place = {int(row): place for place, row in enumerate(source.reconstructed_rows)}
        self._reconstructed = np.intersect1d(self.real, source.reconstructed_rows)
        self._by_source = {
            name: (here[table.fake[here] == 0], here[table.fake[here] == 1])
            for name, here in ((name, rows[found]) for name, found in places(table.sources[rows]).items())
        }
        # A source's weight is the square root of its size, so that a large source does not outweigh all others.
        self._real_weights = normalised({name: len(real) ** 0.5 for name, (real, _) in self._by_source.items()})
        # Labelled fakes without real faces of their source, or of the collection that their source is a part of, are
        # left out: the source alone would tell that they are fake.
        self._labelled = {name: both for name, both in self._by_source.items() if all(map(len, both))}
        reals = {name: real for name, (real, _) in self._by_source.items() if len(real)}
        for name, shared in shared_reals(reals, self._by_source).items():
            self._labelled[name] = np.concatenate([reals[part] for part in shared]), self._by_source[name][1]
        self._labelled_weights = normalised({name: len(fake) ** 0.5 for name, (_, fake) in self._labelled.items()})
        self._neighbours = _similar_shapes(table.points[self.real], NEIGHBOURS)

    def families(self) -> tuple[str, ...]:
        """Return the families that can be made from the source."""
        possible = {"self_blend": True, "composite": len(self.real) > NEIGHBOURS}
        possible["reconstruct"] = bool(self.source.decoders) and len(self._reconstructed) > 0
        possible["labelled"] = bool(self._labelled_weights)
        return tuple(name for name in FAMILIES if possible[name])

    def make(self, family: str, rng: np.random.Generator) -> tuple[Image, Image, NDArray[np.float32]]:
        """Make one pair of a family.

        Args:
            family: One of :meth:`families`.
            rng: Generator that decides the pair.

        Returns:
            The real image and the fake, ``uint8 [S, S, 3]`` RGB, and the fake's mask, ``float32 [S, S]`` in [0, 1] and
            NaN where it is unknown.
        """
        pixels, points = self.source.pixels, self.source.table.points
        if family == "labelled":
            real, fake = self._labelled[draw(self._labelled_weights, rng)]
            unknown = np.full(pixels.shape[1:3], np.nan, np.float32)
            return pixels[rng.choice(real)], pixels[rng.choice(fake)], unknown
        if family == "reconstruct":
            row = int(rng.choice(self._reconstructed))
            return np.asarray(pixels[row]), self._reconstruction(row, rng), np.ones(pixels.shape[1:3], np.float32)
        row = int(rng.choice(self._by_source[draw(self._real_weights, rng)][0]))
        image = np.asarray(pixels[row])
        if family == "composite":
            own = int(np.searchsorted(self.real, row))
            donor = int(self.real[rng.choice(self._neighbours[own])])
            return composite(image, points[row], np.asarray(pixels[donor]), points[donor], rng)
        source = self._reconstruction(row, rng) if row in self._place and rng.random() < 0.5 else None
        return self_blend(image, points[row], rng, source)

    def _reconstruction(self, row: int, rng: np.random.Generator) -> Image:
        decoder = self.source.decoders[int(rng.integers(len(self.source.decoders)))]
        return np.asarray(self.source.reconstructions[decoder][self._place[row]])


def _similar_shapes(points: NDArray[np.float32], count: int, most: int = COMPARED) -> NDArray[np.int32]:
    """Return, for each of N faces, the ``count`` faces of the most similar shape, ``int32 [N, count]``.

    Shapes are compared by the cosine similarity of the landmarks ``float32 [N, P, 2]``, centred and scaled. Of more
    than ``most`` faces, each is compared with ``most`` that are evenly spread over all.
    """
    others = np.arange(len(points)) if len(points) <= most else np.linspace(0, len(points) - 1, most).astype(np.intp)
    place = np.full(len(points), -1)
    place[others] = np.arange(len(others))
    compared = _normed(points[others])
    nearest = np.empty((len(points), min(count, max(len(others) - 1, 1))), np.int32)
    for start in range(0, len(points), 1024):
        similarity = _normed(points[start : start + 1024]) @ compared.T
        own = place[start : start + 1024]
        itself = np.flatnonzero(own >= 0)
        similarity[itself, own[itself]] = -np.inf
        nearest[start : start + 1024] = others[
            np.argpartition(-similarity, nearest.shape[1] - 1)[:, : nearest.shape[1]]
        ]
    return nearest


def _normed(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre and scale shapes ``float32 [n, P, 2]``, and return them as rows ``float32 [n, 2·P]``."""
    shapes = points - points.mean(1, keepdims=True)
    shapes /= np.linalg.norm(shapes, axis=(1, 2), keepdims=True) + 1e-6
    return np.asarray(shapes.reshape(len(points), -1))


def normalised(weights: dict[str, float]) -> dict[str, float]:
    """Scale weights to a sum of 1, without those that are 0; empty where all are 0."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items() if weight > 0} if total else {}


def draw(weights: dict[str, float], rng: np.random.Generator) -> str:
    """Draw a name with the probability that is its weight."""
    return str(rng.choice(list(weights), p=list(weights.values())))

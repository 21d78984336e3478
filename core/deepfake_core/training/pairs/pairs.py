"""Training samples in pairs: a real face, and a fake that differs from it by as little as possible.

Both of a pair come from the same source and go through the same crop and the same chain of colour, resizing and
codecs, so that nothing but the manipulation tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import albumentations as A
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import Key, TrainingSet
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.degrade import Image, degrade, recode
from deepfake_core.training.pairs.blend import composite, self_blend
from deepfake_core.training.pairs.faces import STORE_MARGIN, STORE_SIDE, FaceTable
from deepfake_core.training.pairs.reconstruct import VALIDATION_DECODER
from deepfake_core.training.recipes.stages import plan

Scalar = TypeVar("Scalar", np.uint8, np.float32)

NEIGHBOURS = 40
"""A composite's donor is drawn from this many faces of most similar shape."""

FAMILIES = ("self_blend", "composite", "reconstruct", "labelled")


@dataclass(frozen=True)
class PairSource:
    """What pairs are made from.

    Attributes:
        table: The faces.
        pixels: Their stored crops ``uint8 [N, S, S, 3]``.
        rows: Faces that may be used.
        reconstructions: By decoder, memory maps over ``reconstructed_rows``; may be empty.
        reconstructed_rows: Row of the table of every reconstruction.
        decoders: Which decoders may be used.
    """

    table: FaceTable
    pixels: NDArray[np.uint8]
    rows: NDArray[np.intp]
    reconstructions: Sequence[NDArray[np.uint8]] = ()
    reconstructed_rows: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    decoders: tuple[int, ...] = ()


class PairMaker:
    """Makes the i-th pair of a family from a seed; holds no state that changes."""

    def __init__(self, source: PairSource) -> None:
        self.source = source
        table, rows = source.table, source.rows
        self.real = rows[table.fake[rows] == 0]
        fake = rows[table.fake[rows] == 1]
        if len(self.real) == 0:
            raise TrainingDataError("there are no real faces to train on")
        self._place = {int(row): place for place, row in enumerate(source.reconstructed_rows)}
        self._reconstructed = np.intersect1d(self.real, source.reconstructed_rows)
        self._by_source = {
            name: (self.real[table.sources[self.real] == name], fake[table.sources[fake] == name])
            for name in np.unique(table.sources[rows]).tolist()
        }
        # A source counts by the square root of its size, so that a large one does not drown the others.
        self._real_weights = _normalised({name: len(real) ** 0.5 for name, (real, _) in self._by_source.items()})
        # Labelled fakes of a source without real faces are left out: the source itself would give them away.
        self._labelled_weights = _normalised(
            {name: len(fake) ** 0.5 for name, (real, fake) in self._by_source.items() if len(real) and len(fake)}
        )
        self._neighbours = _similar_shapes(table.points[self.real], NEIGHBOURS)

    def families(self) -> tuple[str, ...]:
        """The families that this source can make."""
        possible = {"self_blend": True, "composite": len(self.real) > NEIGHBOURS}
        possible["reconstruct"] = bool(self.source.decoders) and len(self._reconstructed) > 0
        possible["labelled"] = bool(self._labelled_weights)
        return tuple(name for name in FAMILIES if possible[name])

    def make(self, family: str, rng: np.random.Generator) -> tuple[Image, Image, NDArray[np.float32]]:
        """Real, fake (``uint8 [S, S, 3]`` each) and the fake's mask (``float32 [S, S]``; NaN where unknown)."""
        pixels, points = self.source.pixels, self.source.table.points
        if family == "labelled":
            real, fake = self._by_source[_draw(self._labelled_weights, rng)]
            unknown = np.full(pixels.shape[1:3], np.nan, np.float32)
            return pixels[rng.choice(real)], pixels[rng.choice(fake)], unknown
        if family == "reconstruct":
            row = int(rng.choice(self._reconstructed))
            return np.asarray(pixels[row]), self._reconstruction(row, rng), np.ones(pixels.shape[1:3], np.float32)
        row = int(rng.choice(self._by_source[_draw(self._real_weights, rng)][0]))
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


@cache
def colour_transform() -> A.Compose:
    """Return random changes of colour and light, which say nothing about a face being fake."""
    return A.Compose(
        [
            A.RGBShift((-20, 20), (-20, 20), (-20, 20), p=0.3),
            A.HueSaturationValue((-8, 8), (-35, 35), (-25, 25), p=0.3),
            A.RandomBrightnessContrast((-0.3, 0.3), (-0.3, 0.3), p=0.3),
            A.RandomGamma((70, 140), p=0.15),
            A.ToGray(p=0.06),
        ]
    )


class PairDataset(TrainingSet):
    """The i-th training pair of a run, decided by the recipe's seed and ``i`` alone.

    An epoch has as many pairs as there are real faces, rounded up to whole batches.

    Args:
        maker: Makes the pairs.
        recipe: Their number, their kinds and the size of the early ones.
        size: Side of the detector's input in pixels.
        margin: Crop margin at inference, around which training crops vary.
        cells: Side of the evidence map at full size.
    """

    group = 2

    def __init__(self, maker: PairMaker, recipe: TrainRecipe, *, size: int, margin: float, cells: int) -> None:
        self.maker, self.size, self.margin, self.cells, self.seed = maker, size, margin, cells, recipe.seed
        batch = recipe.batch_size // 2
        batches = -(-len(maker.real) // batch)
        self.length = batches * batch
        per_step = batch * recipe.accumulate
        steps = plan(recipe, -(-batches // recipe.accumulate))[-1].last
        self.small_until = round(recipe.pairs.small_until * steps) * per_step
        self.small_size = recipe.pairs.small_size
        self.shares = _normalised({name: getattr(recipe.pairs.pseudo, name) for name in maker.families()})

    def __len__(self) -> int:
        return self.length

    def order(self, epoch: int) -> NDArray[np.int64]:  # noqa: ARG002 - every item is drawn anew in every epoch
        return np.arange(self.length)

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        epoch, item = key
        index = epoch * self.length + item
        rng = np.random.default_rng([self.seed, index])
        size = self.small_size if index < self.small_until else self.size
        cell_side = max(1, self.cells * size // self.size)
        family = _draw(self.shares, rng)
        real, fake, mask = self.maker.make(family, rng)
        window = _jittered_window(self.margin, rng)
        flip = rng.random() < 0.5
        colour, chain = int(rng.integers(2**31)), int(rng.integers(2**31))
        crops = []
        for picture in (real, fake):
            transform = colour_transform()
            transform.set_random_seed(colour)
            picture = transform(image=_cut(picture, window, flip))["image"]
            crops.append(degrade(picture, np.random.default_rng(chain), size))
        cells = cv2.resize(_cut(mask, window, flip), (cell_side, cell_side), interpolation=cv2.INTER_AREA)
        return {
            "images": torch.from_numpy(np.stack(crops)),
            "fake": torch.tensor([0.0, 1.0]),
            "weight": torch.ones(2),
            "mask": torch.from_numpy(np.stack([np.zeros_like(cells), cells]).astype(np.float32)),
        }


def validation_pairs(
    maker: PairMaker, family: str, *, count: int, size: int, margin: float, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Fixed pairs of one family as a detector would see them: ``uint8 [2·count, H, W, 3]`` and ``fake [2·count]``.

    The crop is the inference crop; both of a pair are encoded as JPEG with the same quality.
    """
    half = STORE_SIDE * margin / STORE_MARGIN / 2
    low, high = round(STORE_SIDE / 2 - half), round(STORE_SIDE / 2 + half)
    images = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        quality = int(rng.integers(60, 96))
        for picture in maker.make(family, rng)[:2]:
            crop = cv2.resize(picture[low:high, low:high], (size, size), interpolation=cv2.INTER_AREA)
            images.append(recode(crop.astype(np.uint8), ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]))
    return np.stack(images), np.tile(np.array([0.0, 1.0], np.float32), count)


def training_decoders(count: int) -> tuple[int, ...]:
    """Every decoder but the one kept for validation."""
    return tuple(index for index in range(count) if index != VALIDATION_DECODER)


def _cut(picture: NDArray[Scalar], window: tuple[int, int, int], flip: bool) -> NDArray[Scalar]:
    x, y, side = window
    cut = picture[y : y + side, x : x + side]
    return np.ascontiguousarray(cut[:, ::-1] if flip else cut)


def _jittered_window(margin: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """A square of 0.85-1.2 times the inference margin, shifted by up to 6 % of its side, inside the stored crop."""
    side = min(STORE_SIDE, round(STORE_SIDE * margin * rng.uniform(0.85, 1.2) / STORE_MARGIN))
    shift = rng.uniform(-0.06, 0.06, 2) * side
    corner = np.clip(np.round((STORE_SIDE - side) / 2 + shift), 0, STORE_SIDE - side).astype(int)
    return int(corner[0]), int(corner[1]), side


def _similar_shapes(points: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """For every face the ``count`` faces whose landmarks, centred and scaled, lie nearest: ``[N, count]``."""
    shapes = points - points.mean(1, keepdims=True)
    shapes /= np.linalg.norm(shapes, axis=(1, 2), keepdims=True) + 1e-6
    flat = shapes.reshape(len(points), -1)
    nearest = np.empty((len(flat), min(count, max(len(flat) - 1, 1))), np.intp)
    for start in range(0, len(flat), 1024):
        similarity = flat[start : start + 1024] @ flat.T
        for offset in range(len(similarity)):
            similarity[offset, start + offset] = -np.inf
        nearest[start : start + 1024] = np.argpartition(-similarity, nearest.shape[1] - 1)[:, : nearest.shape[1]]
    return nearest


def _normalised(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items() if weight > 0} if total else {}


def _draw(weights: dict[str, float], rng: np.random.Generator) -> str:
    return str(rng.choice(list(weights), p=list(weights.values())))

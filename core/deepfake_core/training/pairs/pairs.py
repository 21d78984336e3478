"""Training samples in pairs: a real face, and a fake that differs from it as little as possible.

Both faces of a pair come from the same source and go through the same crop and the same chain of colour, resizing and
codecs, so that only the manipulation tells them apart.
"""

from __future__ import annotations

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
from deepfake_core.training.data.degrade import degrade, recode
from deepfake_core.training.pairs.face_table import STORE_MARGIN, STORE_SIDE
from deepfake_core.training.pairs.maker import PairMaker, draw, normalised
from deepfake_core.training.recipes.stages import small_steps

Scalar = TypeVar("Scalar", np.uint8, np.float32)


@cache
def colour_transform() -> A.Compose:
    """Return random changes of colour and light, which do not tell real from fake."""
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
    """Training set of pairs. The recipe's seed and the number of a pair in the run alone decide the pair.

    An epoch has as many pairs as there are real faces, rounded up to whole batches.

    Args:
        maker: Maker of the pairs.
        recipe: Recipe with the seed, the batch size, the families of fakes and the size of early inputs.
        size: Side of the detector's input in pixels.
        margin: Crop margin at inference, around which training crops vary.
        cells: Side of the evidence map, in cells, at the full size of the input.
    """

    group = 2

    def __init__(self, maker: PairMaker, recipe: TrainRecipe, *, size: int, margin: float, cells: int) -> None:
        self.maker, self.size, self.margin, self.cells, self.seed = maker, size, margin, cells, recipe.seed
        batch = recipe.batch_size // 2
        batches = -(-len(maker.real) // batch)
        self.length = batches * batch
        per_step = batch * recipe.accumulate
        self.small_until = small_steps(recipe, -(-batches // recipe.accumulate)) * per_step
        self.small_size = recipe.pairs.small_size
        self.shares = normalised({name: getattr(recipe.pairs.pseudo, name) for name in maker.families()})

    def __len__(self) -> int:
        return self.length

    def order(self, epoch: int) -> NDArray[np.int64]:  # noqa: ARG002 - every item is drawn anew in every epoch
        return np.arange(self.length)

    def grow(self, key: Key) -> None:
        """Give the pairs their full size from a key on."""
        self.small_until = min(self.small_until, key[0] * self.length + key[1])

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        epoch, item = key
        index = epoch * self.length + item
        rng = np.random.default_rng([self.seed, index])
        size = self.small_size if index < self.small_until else self.size
        cell_side = max(1, self.cells * size // self.size)
        family = draw(self.shares, rng)
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
    """Make pairs of one family for validation, in the same crop as at inference.

    Both images of a pair are encoded as JPEG with the same quality.

    Args:
        maker: Maker of the pairs.
        family: Family of the fakes.
        count: Number of pairs.
        size: Side of the detector's input in pixels.
        margin: Crop margin of the detector.
        seed: Seed for the pairs.

    Returns:
        Images ``uint8 [2·count, size, size, 3]`` RGB and labels ``float32 [2·count]``; 1 is fake.
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


def _cut(picture: NDArray[Scalar], window: tuple[int, int, int], flip: bool) -> NDArray[Scalar]:
    x, y, side = window
    cut = picture[y : y + side, x : x + side]
    return np.ascontiguousarray(cut[:, ::-1] if flip else cut)


def _jittered_window(margin: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return x, y and side of a random square inside the stored crop, in pixels.

    Its side is 0.85 to 1.2 times that of the crop at inference, and it is shifted by up to 6 % of its side.
    """
    side = min(STORE_SIDE, round(STORE_SIDE * margin * rng.uniform(0.85, 1.2) / STORE_MARGIN))
    shift = rng.uniform(-0.06, 0.06, 2) * side
    corner = np.clip(np.round((STORE_SIDE - side) / 2 + shift), 0, STORE_SIDE - side).astype(int)
    return int(corner[0]), int(corner[1]), side

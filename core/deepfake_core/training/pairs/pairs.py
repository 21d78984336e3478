"""Training samples in pairs: a real face, and a fake that differs from it as little as possible.

Both faces of a pair come from the same source and go through the same crop and the same chain of colour, resizing and
codecs, so that only the manipulation tells them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import Draw, Key, TrainingSet
from deepfake_core.errors import InputError
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.training.data.degrade import Crop, Degradation, Jpeg, affine
from deepfake_core.training.pairs.draws import Chunk, Family
from deepfake_core.training.pairs.faces import MARGIN
from deepfake_core.training.pairs.host import host_pairs
from deepfake_core.training.pairs.planner import PairSource, Planner
from deepfake_core.training.recipes.stages import small_steps

log = logging.getLogger("deepfake.training")

DRAWS_SEED = 42
"""Seed of the pairs of :meth:`PairDataset.draws`."""

MOST_DRAWS = 25
"""Pairs that are drawn for each pair that is wanted of a source, at most: a source that is seldom drawn has fewer."""


class PairDataset(TrainingSet):
    """Training set of pairs. The recipe's seed and the number of a pair in the run alone decide the pair.

    An epoch has as many pairs as there are real faces, rounded up to whole batches.

    Args:
        planner: What draws the pairs.
        recipe: Recipe with the seed, the batch size and the size of early inputs.
    """

    group = 2

    def __init__(self, planner: Planner, recipe: TrainRecipe) -> None:
        self.planner, self.seed = planner, recipe.seed
        batch = recipe.batch_size // 2
        batches = -(-len(planner.real) // batch)
        self.length = batches * batch
        per_step = batch * recipe.accumulate
        self.small_until = small_steps(recipe, -(-batches // recipe.accumulate)) * per_step
        self.small_size = recipe.pairs.small_size

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
        size = self.small_size if index < self.small_until else self.planner.size
        chunk = self.planner.draw(np.random.default_rng([self.seed, index]), 1, size=size)
        source, bad = self.planner.source, False
        try:
            images, masks = host_pairs(chunk, source.faces, source.reconstruct)
        except InputError as error:
            # The loop counts such pairs, and stops when there are too many.
            log.warning("%s", error)
            images, bad = np.zeros((2, size, size, 3), np.uint8), True
            masks = np.zeros((1, chunk.cells, chunk.cells), np.float32)
        return {
            "images": torch.from_numpy(images),
            "fake": torch.tensor([0.0, 1.0]),
            "weight": torch.full((2,), float(not bad)),
            "mask": torch.from_numpy(np.concatenate([np.zeros_like(masks), masks])),
            "unreadable": torch.full((2,), bad),
        }

    def name(self, item: int) -> str:
        return f"pair {item}"

    def draws(self, most: int, *, plain: bool = False) -> Iterator[Draw]:
        """Yield pairs of each source of labelled fakes and of each other family.

        They are the same for every seed of the recipe. Where a device makes the pictures of the run, pairs with
        reconstructions are left out.
        """
        planner = self.planner.plain() if plain else self.planner
        source = planner.source
        for number, family in enumerate(planner.shares):
            if family != "labelled" and (plain or (family == "reconstruct" and source.reconstruct is None)):
                continue
            sources = planner.labelled.sources if family == "labelled" else (family,)
            left = dict.fromkeys(sources, most)
            for index in range(most * MOST_DRAWS):
                chunk = planner.draw(np.random.default_rng([DRAWS_SEED, number, index]), 1, family)
                if plain:
                    chunk = uncoded(planner, chunk)
                real = other = int(chunk.rows[0])
                name: str = family
                if family == "labelled":
                    other = int(chunk.others[0])
                    name = source.faces.source_names[source.faces.sources[other]]
                if not left[name] or (chunk.autoencoder is not None and source.reconstruct is None):
                    continue
                left[name] -= 1
                yield Draw(
                    name,
                    (0, 1),
                    (int(source.faces.families[real]), int(source.faces.families[other])),
                    partial(_made, chunk, source),
                )
                if not any(left.values()):
                    break


def _made(chunk: Chunk, source: PairSource) -> NDArray[np.uint8]:
    return host_pairs(chunk, source.faces, source.reconstruct)[0]


def validation_pairs(
    planner: Planner, family: Family, *, count: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Make pairs of one family for validation, in the same crop as at inference.

    Both images of a pair are encoded as JPEG with the same quality.

    Args:
        planner: What draws the pairs.
        family: Family of the fakes.
        count: Number of pairs.
        seed: Seed for the pairs.

    Returns:
        Images ``uint8 [2·count, size, size, 3]`` RGB, each real face before its fake, and labels
        ``float32 [2·count]``; 1 is fake.
    """
    source = planner.source

    def make(index: int) -> NDArray[np.uint8]:
        chunk = as_at_inference(planner, np.random.default_rng([seed, index]), 1, family)
        return host_pairs(chunk, source.faces, source.reconstruct)[0]

    images = np.empty((2 * count, planner.size, planner.size, 3), np.uint8)
    with closing(ordered_map(make, range(count), workers=allowed_threads())) as pairs:
        for index, pair in enumerate(track(pairs, f"validation pairs: {family}", total=count, unit="pairs")):
            images[2 * index : 2 * index + 2] = pair
    return images, np.tile(np.array([0.0, 1.0], np.float32), count)


def as_at_inference(planner: Planner, rng: np.random.Generator, n: int, family: Family) -> Chunk:
    """Draw n pairs of a family that are not degraded: cut as the detector does it, and encoded as JPEG of 60 to 95."""
    chunk = uncoded(planner, planner.draw(rng, n, family))
    last = Jpeg(rng.integers(60, 96, n).astype(np.int32), subsampled=True)
    return replace(chunk, degradation=replace(chunk.degradation, last=last))


def uncoded(planner: Planner, chunk: Chunk) -> Chunk:
    """Return pairs that are not degraded: cut as the detector does it."""
    n = len(chunk)
    cut = np.full(n, min(1.0, planner.margin / MARGIN), np.float32)
    crop = Crop(affine(cut, np.zeros(n, np.float32), np.zeros((n, 2), np.float32)), planner.oversampling(chunk.size))
    return replace(chunk, degradation=Degradation(crop=crop))

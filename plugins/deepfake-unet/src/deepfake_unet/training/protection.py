"""The objective of the perturbation: to disturb surrogates through all changes that an image may undergo."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfake_core import TrainingDataError, TrainingSet, TrainRecipe
from deepfake_core.training.pairs.faces import MARGIN
from deepfake_core.training.pairs.faces import Faces as StoredFaces
from deepfake_core.training.pairs.pairs import PairDataset
from deepfake_unet.training.degrade import add_bounded, degraded
from deepfake_unet.training.surrogates import (
    TRAINING_DECODER,
    TRAINING_SWAPPERS,
    Faces,
    Surrogate,
    load_autoencoder,
    load_swapper,
)

log = logging.getLogger("deepfake.training")

FACES = 1500
"""Largest number of faces of each set that a face swapper is trained on."""
FACE_SIDE = 96
"""Side in pixels of these faces."""
_FLOOR = 1e-5
"""Term that is added to a relative change before its logarithm."""
_STRIPES = 10.0
"""Weight of what repeats in a perturbation, in units of the bound, within its loss."""


class Protection:
    """The objective, which is smaller the more the output of every surrogate changes.

    Args:
        surrogates: Frozen networks on one device.
        epsilon: Bound of the perturbation, in units of the pixel range [0, 1].
        visibility: Weight of the perturbation's mean square, in units of the bound.
        precision: Precision of the surrogates: ``fp32``, ``bf16`` or ``fp16``.
    """

    def __init__(
        self, surrogates: Sequence[Surrogate], epsilon: float, visibility: float, precision: str = "fp32"
    ) -> None:
        self.surrogates, self.epsilon, self.visibility, self.precision = surrogates, epsilon, visibility, precision

    def loss(self, images: Tensor, perturbation: Tensor) -> Tensor:
        """Return minus the mean logarithm of the relative changes plus the weighted visibility and stripes, a scalar.

        The changes are those of the outputs' structure, because a generator preserves colours: a tint changes its
        output and disturbs nothing. The logarithm makes all surrogates count alike, however easily one of them is
        disturbed.

        Args:
            images: uint8 [N, H, W, 3] RGB.
            perturbation: Change of pixels in [0, 1], float32 [N, H, W, 3].
        """
        clean = images.permute(0, 3, 1, 2).float() / 255
        protected = add_bounded(clean, perturbation.permute(0, 3, 1, 2), self.epsilon)
        clean, protected = degraded(torch.stack([clean, protected]))
        # The images are divided among the surrogates, so that many of them cost no more than one.
        shares = torch.randperm(len(images)).to(images.device).tensor_split(len(self.surrogates))
        with torch.autocast(
            images.device.type,
            torch.float16 if self.precision == "fp16" else torch.bfloat16,
            enabled=self.precision != "fp32",
        ):
            effects = [
                (surrogate.change(clean[rows], protected[rows], structure=True) + _FLOOR).log().mean()
                for surrogate, rows in zip(self.surrogates, shares, strict=True)
                if len(rows)
            ]
        effect = torch.stack(effects).mean()
        change = perturbation / self.epsilon
        return self.visibility * change.square().mean() + _STRIPES * stripes(change) - 0.5 * effect


def stripes(change: Tensor) -> Tensor:
    """Return the mean square of what repeats within and between changes float32 [N, H, W, 3], a scalar.

    These are the means over rows, over columns, and over the batch. What repeats is easily seen, and easily removed.
    """
    return sum((change.mean(axis).square().mean() for axis in range(3)), torch.zeros((), device=change.device))


def training_surrogates(
    training: TrainingSet, recipe: TrainRecipe, cache_dir: Path, device: torch.device, margin: float
) -> list[Surrogate]:
    """Return the generators that the perturbation is trained against, which are trained on the first call.

    Args:
        training: Training set whose real faces they are trained on.
        recipe: Recipe whose ``pairs.autoencoder_steps`` is the length of each training.
        cache_dir: Folder in which trained generators are kept.
        device: Device of all surrogates.
        margin: Crop margin of the detector: side of the crop divided by the longer side of the face box.

    Raises:
        TrainingDataError: There are fewer than two real faces.
    """
    faces = two_sets(training, margin)
    steps = recipe.pairs.autoencoder_steps
    log.info("face swappers: %d and %d faces, %d steps each", *map(len, faces), steps)
    found: list[Surrogate] = [
        load_swapper(spec, faces, cache_dir, steps=steps, device=device, name=f"swapper {number}")
        for number, spec in enumerate(TRAINING_SWAPPERS, 1)
    ]
    autoencoder = load_autoencoder(TRAINING_DECODER, faces, cache_dir, steps=steps, device=device, name="autoencoder 1")
    return [*found, autoencoder]


def two_sources(training: TrainingSet) -> tuple[str, str] | None:
    """Return the names of the two largest sources of real faces.

    Returns:
        The two names; ``None`` where the second source has less than a quarter of the first one's faces.
    """
    if not isinstance(training, PairDataset) or (codes := _two_codes(training)) is None:
        return None
    one, other = (training.planner.source.faces.source_names[code] for code in codes)
    return one, other


def _two_codes(training: PairDataset) -> tuple[int, int] | None:
    """Return the codes of the sources of :func:`two_sources`."""
    faces = training.planner.source.faces
    codes, counts = np.unique(faces.sources[training.planner.real], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:2]
    if len(order) < 2 or 4 * counts[order[1]] < counts[order[0]]:
        return None
    return int(codes[order[0]]), int(codes[order[1]])


def two_sets(training: TrainingSet, margin: float) -> Faces:
    """Return two sets of real faces for a face swapper, each uint8 [N, S, S, 3] RGB with at most :data:`FACES` faces.

    They come from the two sources of :func:`two_sources`; where there are none, faces go to the two sets in turn.

    Args:
        training: Training set of the detector.
        margin: Crop margin of the detector.

    Raises:
        TrainingDataError: There are fewer than two real faces.
    """
    if isinstance(training, PairDataset):
        real, stored = training.planner.real, training.planner.source.faces
        if (codes := _two_codes(training)) is not None:
            one, other = (real[stored.sources[real] == code] for code in codes)
            return _stored(stored, one, margin), _stored(stored, other, margin)
        faces = _stored(stored, real, margin)
    else:
        faces = _of_items(training)
    if len(faces) < 2:
        raise TrainingDataError("a face swapper needs real faces; there are fewer than two to train it on")
    return faces[::2], faces[1::2]


def _stored(stored: StoredFaces, rows: NDArray[np.intp], margin: float) -> NDArray[np.uint8]:
    """Return the detector's crops of stored faces, spread evenly over the rows, uint8 [N, S, S, 3]."""
    faces = []
    for row in rows[np.linspace(0, len(rows) - 1, min(FACES, len(rows))).astype(int)]:
        pixels = stored.pixels(int(row))
        cut = round(len(pixels) * (1 - min(1.0, margin / MARGIN)) / 2)
        faces.append(_reduced(pixels[cut : len(pixels) - cut, cut : len(pixels) - cut]))
    return np.stack(faces)


def _of_items(training: TrainingSet) -> NDArray[np.uint8]:
    """Return the first real faces of any training set, uint8 [N, S, S, 3]."""
    faces: list[NDArray[np.uint8]] = []
    for item in range(len(training)):
        sample = training[0, item]
        faces += [_reduced(face) for face in sample["images"][sample["fake"] < 0.5].numpy()]
        if len(faces) >= 2 * FACES:
            break
    return np.stack(faces) if faces else np.empty((0, FACE_SIDE, FACE_SIDE, 3), np.uint8)


def _reduced(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(face, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8)

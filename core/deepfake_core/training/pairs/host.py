"""The pictures of a chunk of pairs, made by OpenCV and NumPy on the host.

A picture is rounded to ``uint8`` after each operation. :mod:`~deepfake_core.training.pairs.device` makes the same
pictures of the same chunk, but for this rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.training.data.degrade import (
    Floats,
    Image,
    blurred,
    degraded,
    recoloured,
    resampled,
    sharpened,
    warped,
)
from deepfake_core.training.pairs.draws import ABSENT, DIRECTIONS, MASK_SIDE, NORMALS, Blend, Chunk, Mask, Mismatch
from deepfake_core.training.pairs.faces import Faces


def host_pairs(
    chunk: Chunk, faces: Faces, reconstruct: Callable[[int, int], Image] | None = None
) -> tuple[NDArray[np.uint8], Floats]:
    """Make the pictures of n pairs.

    Args:
        chunk: The pairs.
        faces: Faces of the chunk's rows.
        reconstruct: Function of a row and the index of an autoencoder that returns a reconstruction, as
            :class:`~deepfake_core.training.pairs.planner.PairSource` has it.

    Returns:
        Images ``uint8 [2·n, size, size, 3]`` RGB, first the real ones and then their fakes, and the masks of the fakes
        ``float32 [n, cells, cells]`` in [0, 1]; NaN where they are unknown.
    """
    images, masks = zip(*(_pair(chunk, place, faces, reconstruct) for place in range(len(chunk))), strict=True)
    return np.stack([pair[fake] for fake in (0, 1) for pair in images]), np.stack(masks)


def undegraded(
    chunk: Chunk, place: int, faces: Faces, reconstruct: Callable[[int, int], Image] | None = None
) -> tuple[Image, Image, Floats | None]:
    """Make one pair as it is before its degradation.

    Returns:
        The real picture and the fake, ``uint8 [S, S, 3]`` RGB, and the mask of a blend, ``float32 [80, 80]`` in [0, 1];
        ``None`` where there is no blend. In a labelled fake, the mask is that of the real face.
    """
    row, other = int(chunk.rows[place]), int(chunk.others[place])
    target = faces.pixels(row)
    if chunk.autoencoder is not None:
        assert reconstruct is not None, "a chunk with an autoencoder needs reconstructions"
        source = reconstruct(other, chunk.autoencoder)
    else:
        source = target if other == row else faces.pixels(other)
    if chunk.blend is None:
        return target, source, None
    if chunk.family == "labelled":
        return target, *blended(target, source, chunk.blend, place)[1:]
    return blended(source, target, chunk.blend, place)


def _pair(
    chunk: Chunk, place: int, faces: Faces, reconstruct: Callable[[int, int], Image] | None
) -> tuple[list[Image], Floats]:
    real, fake, mask = undegraded(chunk, place, faces, reconstruct)
    pair = degraded([real, fake], chunk.degradation, chunk.size, place)
    cells = (chunk.cells, chunk.cells)
    if mask is None:
        return pair, np.full(cells, np.nan if chunk.family == "labelled" else 1.0, np.float32)
    crop = chunk.degradation.crop
    assert crop is not None
    finer = chunk.cells * -(-MASK_SIDE // chunk.cells)
    cut = warped(mask, crop.move[place], finer, cv2.BORDER_CONSTANT)
    known = cv2.resize(cut, cells, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
    return pair, np.where(known > 0.5, np.float32(0), np.float32("nan")) if chunk.family == "labelled" else known


def blended(source: Image, target: Image, blend: Blend, place: int) -> tuple[Image, Image, Floats]:
    """Make one blend of n.

    Args:
        source: Picture that is blended in, ``uint8 [S, S, 3]`` RGB.
        target: Picture into which it is blended, ``uint8 [S, S, 3]`` RGB.
        blend: The blends.
        place: Number of the blend.

    Returns:
        The target, which may have changed, and the blend, ``uint8 [S, S, 3]`` RGB, and the mask ``float32 [80, 80]``
        with its strength.
    """
    side = target.shape[0]
    soft = soft_mask(blend.mask, place)
    weight = np.asarray(cv2.resize(soft, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
    source = warped(source, blend.move[place], side)
    if blend.matched[place]:
        source = matched(source, target, weight)
    if blend.mask.hardness[place] != 1:
        weight = np.clip(blend.mask.hardness[place] * (weight - 0.5) + 0.5, 0, 1)
    if blend.mismatch is not None:
        if blend.mismatch.of == "source":
            source = mismatched(source, blend.mismatch, place)
        else:
            target = mismatched(target, blend.mismatch, place)
    if blend.swapper is not None:
        source = sharpened(resampled(source, blend.swapper.resample), blend.swapper.sharpening, place)
    strength = blend.mask.strength[place]
    weight *= strength
    return target, np.asarray(cv2.blendLinear(source, target, weight, 1 - weight), np.uint8), soft * strength


def soft_mask(mask: Mask, place: int) -> Floats:
    """Make one mask of n without its strength, ``float32 [80, 80]`` with the maximum 1."""
    flow = cv2.resize(mask.elastic[place].transpose(1, 2, 0), (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_CUBIC)
    # Only cells are computed whose displaced centres can lie in a hull.
    supports = [support for support in mask.support[place] if support[0] != ABSENT]
    outer = np.max(supports, 0)[:: DIRECTIONS // 4] + 2 / MASK_SIDE  # to the right, down, to the left, up
    reach = np.abs(flow).max((0, 1))
    left, top = np.searchsorted(_STEPS, -outer[2:] - reach)
    right, bottom = np.searchsorted(_STEPS, outer[:2] + reach)
    near = (slice(top, bottom), slice(left, right))
    points = (_CENTRES + flow)[near].reshape(-1, 2).T
    heights = NORMALS @ points
    depth = np.max([(support[:, None] - heights).min(0) for support in supports], 0)
    values = np.zeros((MASK_SIDE, MASK_SIDE), np.float32)
    values[near] = np.clip(depth * (MASK_SIDE / 2) + 0.5, 0, 1).reshape(values[near].shape)
    kernel = (2 * mask.radius + 1, 2 * mask.radius + 1)

    def blur(sigma: Floats) -> None:
        cv2.GaussianBlur(values, kernel, float(sigma[place]), values, borderType=cv2.BORDER_CONSTANT)

    blur(mask.first)
    if mask.threshold[place]:
        values = (values >= mask.threshold[place]).astype(np.float32)
    blur(mask.second)
    return np.asarray(values / max(float(values.max()), 1e-3), np.float32)


def matched(source: Image, target: Image, weight: Floats) -> Image:
    """Give a source the target's mean and spread of each channel where a weight ``float32 [S, S]`` is above 0.5."""
    inside = (weight > 0.5).view(np.uint8)
    (mean, spread), (to, wanted) = (cv2.meanStdDev(image, mask=inside) for image in (source, target))
    factor = np.clip(wanted / np.maximum(spread, 1e-3), 0.6, 1.6)
    return cv2.transform(source, np.hstack([np.diag(factor[:, 0]), to - factor * mean])).astype(np.uint8, copy=False)


def mismatched(image: Image, mismatch: Mismatch, place: int) -> Image:
    """Make one of n mismatches of an image ``uint8 [S, S, 3]`` RGB."""
    image = resampled(recoloured([image], mismatch.colour, place)[0], mismatch.resample)
    return blurred(sharpened(image, mismatch.sharpening, place), mismatch.blur, place)


_STEPS = (2 * np.arange(MASK_SIDE, dtype=np.float32) + 1) / MASK_SIDE - 1
_CENTRES = np.stack(np.meshgrid(_STEPS, _STEPS), 2)

"""Masks of blends: the whole face or a part of it, with a hard or a soft edge.

Landmarks are ``float32 [len(POINTS), 2]`` (x and y in pixels of the image), masks ``float32 [S, S]`` in [0, 1].
"""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.crops import face_mesh as lm

Mask = NDArray[np.float32]
Points = NDArray[np.float32]

_MASK_SIDE = 160  # pixels; masks are smooth, and to deform them at this size is four times faster

_EYES = lm.places(lm.RIGHT_EYE + lm.LEFT_EYE)
_BROWS = lm.places(lm.RIGHT_BROW + lm.LEFT_BROW)
_NOSE, _LIPS, _OVAL = lm.places(lm.NOSE), lm.places(lm.LIPS), lm.places(lm.OVAL)
_BELOW_BROWS = [
    place
    for place in range(len(lm.POINTS))
    if place not in set(lm.places((10, 338, 297, 332, 284, 54, 103, 67, 109, 21, 251)))
]

# Parts of the face that retouching and reenactment replace. Each list of landmark rows is filled as one convex hull.
PARTS: tuple[tuple[list[int], ...], ...] = (
    (_EYES + _BROWS,),
    (lm.places(lm.RIGHT_EYE), lm.places(lm.LEFT_EYE)),
    (lm.places(lm.RIGHT_EYE + lm.RIGHT_BROW),),
    (lm.places(lm.LEFT_EYE + lm.LEFT_BROW),),
    (_NOSE,),
    (_LIPS,),
    (_NOSE + _LIPS,),
    (_EYES + _BROWS, _NOSE),
    (_EYES + _BROWS, _LIPS),
    (_EYES + _NOSE + _LIPS,),
)


def face_mask(points: Points, side: int, rng: np.random.Generator) -> Mask:
    """Return a hard mask ``float32 [side, side]`` of the face's convex hull, one time in four without the forehead."""
    rows = _BELOW_BROWS if rng.random() < 0.25 else list(range(len(lm.POINTS)))
    return _fill([points[rows]], side)


def part_mask(points: Points, side: int, rng: np.random.Generator) -> Mask:
    """Return a hard mask ``float32 [side, side]`` of a random part of the face, whose hulls grow by up to 60 %."""
    hulls = []
    for rows in PARTS[int(rng.integers(len(PARTS)))]:
        part = points[rows]
        centre = part.mean(0)
        hulls.append(centre + (part - centre) * rng.uniform(1.05, 1.6, size=2))
    return _fill(hulls, side)


def soften(mask: Mask, rng: np.random.Generator, *, small: bool) -> Mask:
    """Deform a hard mask ``float32 [S, S]`` elastically and blur its edge twice; the result has the same shape.

    Args:
        mask: Hard mask, 0 or 1.
        rng: Random generator.
        small: Whether the mask covers a small part, which kernels of up to 25 pixels would erase.
    """
    side = mask.shape[0]
    elastic = A.ElasticTransform(alpha=50 * _MASK_SIDE / 256, sigma=7 * _MASK_SIDE / 256, approximate=True, p=1.0)
    elastic.set_random_seed(int(rng.integers(2**31)))
    mask = elastic(image=cv2.resize(mask, (_MASK_SIDE, _MASK_SIDE), interpolation=cv2.INTER_AREA))["image"]
    low, high = (1, 4) if small else (2, 9)  # kernels of 3-7 or 5-17 pixels: 5-25 at the paper's 192-256
    for last in (False, True):
        kernel = 2 * int(rng.integers(low, high)) + 1
        mask = np.asarray(cv2.GaussianBlur(mask, (kernel, kernel), rng.uniform(0.3, 1.0) * kernel), np.float32)
        if not (last or small):
            mask = np.where(mask >= mask.max() * 0.99, np.float32(1.0), np.float32(0.0))
    peak = float(mask.max())
    if peak > 0:
        mask = mask / peak
    return np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


def _fill(hulls: list[Points], side: int) -> Mask:
    mask = np.zeros((side, side), np.float32)
    for hull in hulls:
        polygon = cv2.convexHull(np.round(hull).astype(np.int32))
        cv2.fillConvexPoly(mask, polygon, 1.0)
    return mask

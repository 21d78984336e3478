"""Pseudo-fakes made by blending: self-blended faces, and parts of another person's face.

Self-blended images: Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022,
arXiv 2204.08376. A composite takes its source from a face of similar shape instead, aligned by landmarks, as
in Face X-ray (Li et al. 2020, arXiv 1912.13458) and as retouchers do.

Pictures are ``uint8 [S, S, 3]`` RGB, landmarks ``float32 [len(POINTS), 2]`` in their pixels, masks
``float32 [S, S]`` in [0, 1].
"""

from __future__ import annotations

from functools import cache

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.training.pairs import landmarks as lm

Image = NDArray[np.uint8]
Mask = NDArray[np.float32]
Points = NDArray[np.float32]

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
"""A blend's opacity is drawn from these (arXiv 2204.08376, section 3.1)."""

_MASK_SIDE = 160  # masks are deformed at this size: they are smooth, and it is four times faster

_EYES = lm.places(lm.RIGHT_EYE + lm.LEFT_EYE)
_BROWS = lm.places(lm.RIGHT_BROW + lm.LEFT_BROW)
_NOSE, _LIPS, _OVAL = lm.places(lm.NOSE), lm.places(lm.LIPS), lm.places(lm.OVAL)
_BELOW_BROWS = [
    place
    for place in range(len(lm.POINTS))
    if place not in set(lm.places((10, 338, 297, 332, 284, 54, 103, 67, 109, 21, 251)))
]

# Parts that retouchers and reenactment replace; each list of rows is filled as one convex hull.
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


@cache
def source_transform() -> A.Compose:
    """Return the perturbation of a blend's source, after arXiv 2204.08376, section 3.1.

    Its statistics then differ from those of the target. Hue and saturation change little, because a face in another
    colour can be found without a look at its boundary.
    """
    return A.Compose(
        [
            A.RGBShift((-20, 20), (-20, 20), (-20, 20), p=0.3),
            A.HueSaturationValue((-6, 6), (-20, 20), (-20, 20), p=0.3),
            A.RandomBrightnessContrast((-0.1, 0.1), (-0.1, 0.1), p=0.3),
            A.OneOf(
                [
                    A.Downscale(
                        (0.25, 0.5),
                        interpolation_pair={"downscale": cv2.INTER_NEAREST, "upscale": cv2.INTER_LINEAR},
                        p=1,
                    ),
                    A.Sharpen(alpha=(0.2, 0.5), lightness=(0.5, 1.0), p=1),
                ],
                p=1,
            ),
        ]
    )


def face_mask(points: Points, side: int, rng: np.random.Generator) -> Mask:
    """Convex hull of the whole face, one time in four without the forehead; hard-edged."""
    rows = _BELOW_BROWS if rng.random() < 0.25 else list(range(len(lm.POINTS)))
    return _fill([points[rows]], side)


def part_mask(points: Points, side: int, rng: np.random.Generator) -> Mask:
    """Hulls of a random part of the face, grown by up to 60 %; hard-edged."""
    hulls = []
    for rows in PARTS[int(rng.integers(len(PARTS)))]:
        part = points[rows]
        centre = part.mean(0)
        hulls.append(centre + (part - centre) * rng.uniform(1.05, 1.6, size=2))
    return _fill(hulls, side)


def soften(mask: Mask, rng: np.random.Generator, *, small: bool) -> Mask:
    """Deform a hard mask elastically and blur its edge twice.

    Args:
        mask: Hard mask.
        rng: Source of randomness.
        small: Whether the mask covers a small part, which kernels of up to 25 pixels would wipe out.
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


def self_blend(
    image: Image, points: Points, rng: np.random.Generator, source: Image | None = None
) -> tuple[Image, Image, Mask]:
    """Blend a picture with a slightly moved and perturbed copy of itself.

    Args:
        image: A real face.
        points: Its landmarks.
        rng: Source of randomness.
        source: The copy to blend in, such as a reconstruction of ``image``; ``image`` itself by default.

    Returns:
        The real picture (possibly perturbed), the fake made from it, and the mask.
    """
    small = rng.random() < 0.3
    side = image.shape[0]
    mask = part_mask(points, side, rng) if small else face_mask(points, side, rng)
    source, target = (image if source is None else source), image
    transform = source_transform()
    transform.set_random_seed(int(rng.integers(2**31)))
    if rng.random() < 0.5:
        source = transform(image=source)["image"]
    else:
        target = transform(image=target)["image"]
    move = _random_affine(side, rng)
    source = _warp(source, move)
    mask = np.asarray(cv2.warpAffine(mask, move, (side, side), flags=cv2.INTER_LINEAR), np.float32)
    mask = soften(mask, rng, small=small) * np.float32(rng.choice(STRENGTHS))
    return target, _mix(source, target, mask), mask


def composite(
    image: Image, points: Points, donor: Image, donor_points: Points, rng: np.random.Generator
) -> tuple[Image, Image, Mask]:
    """Blend another person's face, or a part of it, into a picture.

    Args:
        image: A real face.
        points: Its landmarks.
        donor: Another real face of similar pose.
        donor_points: Its landmarks.
        rng: Source of randomness.

    Returns:
        The real picture, the fake made from it, and the mask.
    """
    side = image.shape[0]
    small = rng.random() < 0.7
    mask = part_mask(points, side, rng) if small else face_mask(points, side, rng)
    matrix = cv2.estimateAffine2D(donor_points, points, method=cv2.LMEDS)[0]
    source = donor if matrix is None else _warp(donor, np.asarray(matrix, np.float64))
    if rng.random() < 0.85:
        source = _match_colour(source, image, mask)
    if rng.random() < 0.3:
        transform = source_transform()
        transform.set_random_seed(int(rng.integers(2**31)))
        source = transform(image=source)["image"]
    if rng.random() < 0.15:
        cloned = _poisson(source, image, mask)
        if cloned is not None:
            return image, cloned, mask
    mask = soften(mask, rng, small=small)
    return image, _mix(source, image, mask), mask


def _fill(hulls: list[Points], side: int) -> Mask:
    mask = np.zeros((side, side), np.float32)
    for hull in hulls:
        polygon = cv2.convexHull(np.round(hull).astype(np.int32))
        cv2.fillConvexPoly(mask, polygon, 1.0)
    return mask


def _random_affine(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Shift by up to 3 % across and 1.5 % down, scale within .95-1/.95 (arXiv 2204.08376, section 3.1)."""
    scale = rng.uniform(0.95, 1 / 0.95)
    matrix = np.asarray(cv2.getRotationMatrix2D((side / 2, side / 2), 0.0, scale), np.float64)
    matrix[:, 2] += rng.uniform(-1, 1, 2) * (0.03 * side, 0.015 * side)
    return matrix


def _warp(image: Image, matrix: NDArray[np.float64]) -> Image:
    size = image.shape[1], image.shape[0]
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def _mix(source: Image, target: Image, mask: Mask) -> Image:
    weight = mask[..., None]
    mixed = weight * source.astype(np.float32) + (1.0 - weight) * target.astype(np.float32)
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def _match_colour(source: Image, target: Image, mask: Mask) -> Image:
    """Give the source the target's mean and spread per Lab channel under the mask (Reinhard et al. 2001)."""
    inside = mask > 0.5
    if not inside.any():
        return source
    a, b = (cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32) for picture in (source, target))
    ratio = np.clip(b[inside].std(0) / (a[inside].std(0) + 1e-3), 0.6, 1.6)
    moved = (a - a[inside].mean(0)) * ratio + b[inside].mean(0)
    return np.asarray(cv2.cvtColor(np.clip(moved, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8)


def _poisson(source: Image, target: Image, mask: Mask) -> Image | None:
    """Gradient-domain blend (Pérez et al. 2003); ``None`` when the mask touches the border or is empty."""
    hard = (mask > 0.5).astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(hard)
    side = target.shape[0]
    if width < 4 or height < 4 or x < 2 or y < 2 or x + width > side - 2 or y + height > side - 2:
        return None
    centre = (x + width // 2, y + height // 2)
    return np.asarray(cv2.seamlessClone(source, target, hard, centre, cv2.NORMAL_CLONE), np.uint8)

"""Pseudo-fakes made by blending: self-blended faces, and parts of another person's face.

Self-blended images are those of Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022,
arXiv 2204.08376. A composite takes its source from a face of similar shape instead, aligned by landmarks, as
in Face X-ray (Li et al. 2020, arXiv 1912.13458) and as retouchers do.

Images are ``uint8 [S, S, 3]`` RGB, landmarks ``float32 [len(POINTS), 2]`` (x and y in pixels of the image), and masks
``float32 [S, S]`` in [0, 1].
"""

from __future__ import annotations

from functools import cache

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.training.data.degrade import Image
from deepfake_core.training.pairs.masks import Mask, Points, face_mask, part_mask, soften

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
"""Opacities of a blend, one of which is drawn (arXiv 2204.08376, section 3.1)."""


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


def self_blend(
    image: Image, points: Points, rng: np.random.Generator, source: Image | None = None
) -> tuple[Image, Image, Mask]:
    """Blend a face ``uint8 [S, S, 3]`` RGB with a slightly moved and perturbed copy of itself.

    Args:
        image: Real face.
        points: Landmarks of the face.
        rng: Random generator.
        source: Image to blend in, such as a reconstruction of ``image``; ``image`` itself by default.

    Returns:
        The real image (possibly perturbed) and the fake made from it, ``uint8 [S, S, 3]`` RGB, and the mask,
        ``float32 [S, S]``.
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
    """Blend another person's face, or a part of it, into a face ``uint8 [S, S, 3]`` RGB.

    Args:
        image: Real face.
        points: Landmarks of the face.
        donor: Real face of another person in a similar pose.
        donor_points: Landmarks of the donor.
        rng: Random generator.

    Returns:
        The real image and the fake made from it, ``uint8 [S, S, 3]`` RGB, and the mask, ``float32 [S, S]``.
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


def _random_affine(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return an affine map that shifts by up to 3 % in x and 1.5 % in y and scales by 0.95 to 1/0.95.

    The ranges are those of arXiv 2204.08376, section 3.1.
    """
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
    """Give the source the target's mean and deviation of each Lab channel under the mask (Reinhard et al. 2001)."""
    inside = mask > 0.5
    if not inside.any():
        return source
    a, b = (cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32) for picture in (source, target))
    ratio = np.clip(b[inside].std(0) / (a[inside].std(0) + 1e-3), 0.6, 1.6)
    moved = (a - a[inside].mean(0)) * ratio + b[inside].mean(0)
    return np.asarray(cv2.cvtColor(np.clip(moved, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8)


def _poisson(source: Image, target: Image, mask: Mask) -> Image | None:
    """Blend in the gradient domain (Pérez et al. 2003).

    The result is ``None`` where the mask is too small or comes close to the border of the image.
    """
    hard = (mask > 0.5).astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(hard)
    side = target.shape[0]
    if width < 4 or height < 4 or x < 2 or y < 2 or x + width > side - 2 or y + height > side - 2:
        return None
    centre = (x + width // 2, y + height // 2)
    return np.asarray(cv2.seamlessClone(source, target, hard, centre, cv2.NORMAL_CLONE), np.uint8)

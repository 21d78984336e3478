"""Augmentations: what a source is perturbed by before blending, and the chain that both classes go through.

Everything here takes ``uint8 [H, W, 3]`` RGB. A seed makes each call reproducible.
"""

from __future__ import annotations

import os
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it looks for a newer release on import otherwise

import albumentations as A

Image = NDArray[np.uint8]

_KERNELS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)


@cache
def source_transform() -> A.Compose:
    """Statistics mismatch between a blend's source and its target, after arXiv 2204.08376, section 3.1.

    Hue and saturation move little: a face in another colour is found without looking for a boundary.
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


@cache
def colour_transform() -> A.Compose:
    """Changes of colour and light that say nothing about being fake."""
    return A.Compose(
        [
            A.RGBShift((-20, 20), (-20, 20), (-20, 20), p=0.3),
            A.HueSaturationValue((-8, 8), (-35, 35), (-25, 25), p=0.3),
            A.RandomBrightnessContrast((-0.3, 0.3), (-0.3, 0.3), p=0.3),
            A.RandomGamma((70, 140), p=0.15),
            A.ToGray(p=0.06),
        ]
    )


def degrade(image: Image, rng: np.random.Generator, size: int) -> Image:
    """One random chain of resizing, blur, noise and codecs, ending at ``size`` × ``size``.

    Pictures reach a detector after an unknown number of uploads. Every picture of either class goes through
    this chain, so neither resolution nor codec tells the classes apart.
    """
    if rng.random() < 0.5:  # an upload at another size, before the crop was resized to the input
        image = _codec(image, rng) if rng.random() < 0.5 else image
        image = _resize(image, int(size * rng.uniform(0.4, 1.25)), rng)
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6)).astype(np.uint8)
    if rng.random() < 0.12:
        noise = rng.normal(0.0, rng.uniform(1.0, 9.0), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        image = _codec(image, rng)
    return image if image.shape[0] == size else _resize(image, size, rng)


def _resize(image: Image, side: int, rng: np.random.Generator) -> Image:
    kernel = cv2.INTER_AREA if side < image.shape[0] and rng.random() < 0.5 else _KERNELS[int(rng.integers(1, 5))]
    return cv2.resize(image, (side, side), interpolation=kernel).astype(np.uint8)


def _codec(image: Image, rng: np.random.Generator) -> Image:
    if rng.random() < 0.85:
        subsampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            int(rng.integers(30, 100)),
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            subsampling[int(rng.random() < 0.3)],
        ]
        return recode(image, ".jpg", options)
    return recode(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, int(rng.integers(40, 100))])


def recode(image: Image, extension: str, options: list[int]) -> Image:
    """Encode and decode again."""
    _, data = cv2.imencode(extension, image[..., ::-1], options)
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])

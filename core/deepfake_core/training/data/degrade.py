"""Degradation of images as uploads degrade them: resizing, blur, noise and lossy codecs.

Every function takes and returns ``uint8 [H, W, 3]`` RGB.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_KERNELS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)


def degrade(image: Image, rng: np.random.Generator, size: int) -> Image:
    """Apply one random chain of resizing, blur, noise and codecs; the result is ``uint8 [size, size, 3]`` RGB.

    Images reach a detector after an unknown number of uploads. Real and fake images go through the same chain, so
    that neither the resolution nor the codec tells the classes apart.

    Args:
        image: Square image ``uint8 [S, S, 3]`` RGB.
        rng: Generator that decides the chain.
        size: Side of the result in pixels.
    """
    if rng.random() < 0.5:  # an upload at another size, before the crop was resized to the input
        image = _random_codec(image, rng) if rng.random() < 0.5 else image
        image = _random_resize(image, int(size * rng.uniform(0.4, 1.25)), rng)
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6)).astype(np.uint8)
    if rng.random() < 0.12:
        noise = rng.normal(0.0, rng.uniform(1.0, 9.0), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        image = _random_codec(image, rng)
    return image if image.shape[0] == size else _random_resize(image, size, rng)


def recode(image: Image, extension: str, options: list[int]) -> Image:
    """Encode an image ``uint8 [H, W, 3]`` RGB and decode it again.

    Args:
        image: The image.
        extension: File suffix of the codec, such as ``".jpg"``.
        options: Parameters for ``cv2.imencode``.
    """
    _, data = cv2.imencode(extension, image[..., ::-1], options)
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def _random_resize(image: Image, side: int, rng: np.random.Generator) -> Image:
    kernel = cv2.INTER_AREA if side < image.shape[0] and rng.random() < 0.5 else _KERNELS[int(rng.integers(1, 5))]
    return cv2.resize(image, (side, side), interpolation=kernel).astype(np.uint8)


def _random_codec(image: Image, rng: np.random.Generator) -> Image:
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

"""Encode the pictures of stores and packs."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Coding = Literal["jpeg", "png", "webp"]
"""Format of a stored picture. JPEG has full colour resolution, and PNG is lossless."""


def encode(pixels: NDArray[np.uint8], coding: Coding, quality: int | None = None) -> bytes:
    """Encode ``uint8 [h, w, 3]`` RGB as a file.

    Args:
        pixels: Image to encode.
        coding: Format of the file.
        quality: Quality from 1 to 100, of JPEG and WebP.
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, 3]
    if coding == "jpeg":
        options = [cv2.IMWRITE_JPEG_QUALITY, quality or 95]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    elif coding == "webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, quality or 95]
    done, data = cv2.imencode(f".{coding}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    assert done, "OpenCV encodes every 8-bit image"
    return bytes(data)

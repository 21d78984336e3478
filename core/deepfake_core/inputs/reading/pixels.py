"""Conversion of images and arrays of any mode to ``uint8 [h, w, 3]`` RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from deepfake_core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYOUTS = "[H, W], [H, W, 1], [H, W, 3], [H, W, 4], [1, H, W] or [3, H, W]"
"""Shapes of arrays that are one image."""

_CHANNELS = (1, 3, 4)
# Not 4: an array of four planes is rather four grey images.
_CHANNELS_FIRST = (1, 3)
# Resampling of float values overshoots a little.
_SLACK = 1e-3


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a loaded image of any mode to ``uint8 [h, w, 3]`` RGB.

    Raises:
        ValueError: Pillow cannot convert the mode.
    """
    if image.mode.startswith("I;16"):
        return _grey_to_rgb((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return _grey_to_rgb(_wide_grey(np.asarray(image, np.float64)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def array_to_rgb(array: NDArray[Any], name: str) -> tuple[NDArray[np.uint8], str]:
    """Convert an array to ``uint8 [h, w, 3]`` RGB, and return Pillow's name for its mode with it.

    Args:
        array: uint8, uint16 or float in [0, 1], in one of the :data:`LAYOUTS`. Where both the first and the last axis
            could be the channels, it is the last one.
        name: Name of the input in messages.

    Raises:
        InputError: The array has another shape, type or range.
    """
    if array.ndim == 3 and array.shape[0] in _CHANNELS_FIRST and array.shape[2] not in _CHANNELS:
        array = np.moveaxis(array, 0, 2)
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in _CHANNELS or array.size == 0:
        raise InputError(name, f"array of shape {array.shape}; pass {LAYOUTS}")
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        # The condition is negated so that NaN fails too.
        if not (array.min() >= -_SLACK and array.max() <= 1 + _SLACK):
            raise InputError(name, "float array outside of [0, 1]; divide by its peak, or pass uint8")
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(name, f"array of {array.dtype}; pass uint8, uint16 or float in [0, 1]")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    if channels == 1:
        return _grey_to_rgb(array.reshape(array.shape[:2])), mode
    if channels == 4:
        return to_rgb(Image.fromarray(np.ascontiguousarray(array))), mode
    return np.ascontiguousarray(array), mode


def _wide_grey(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Convert grey ``float64 [h, w]`` to ``uint8 [h, w]``; its range is the smallest of 1, 255 and 65535 that fits."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    peak = float(values.max())
    top = next((limit for limit in (1.0, 255.0, 65535.0) if peak <= limit), peak)
    return np.asarray((values.clip(0, top) * (255.0 / top)).round(), np.uint8)


def _grey_to_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)

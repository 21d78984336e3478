"""Features of a network that has learnt nothing: random convolutions, frozen, in NumPy and OpenCV alone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIDE = 160
_LAYERS = ((7, 4, 3, 32), (3, 2, 32, 64), (3, 2, 64, 96))  # side of the kernel, stride, channels in and out
_SEED = 0

DIMENSIONS = 2 * sum(channels for *_, channels in _LAYERS)
"""Number of features."""


def random_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the features ``float32 [D]`` of a square crop ``uint8 [S, S, 3]`` RGB.

    Three layers of convolutions with random weights, each followed by a rectifier; of every channel, the mean and the
    standard deviation over the picture. How well they tell classes apart says what an untrained network makes of
    framing, light and texture (Saxe et al. 2011).

    Args:
        pixels: Crop, which is resized to 160 pixels a side.
    """
    if pixels.shape[:2] != (_SIDE, _SIDE):
        kernel = cv2.INTER_AREA if len(pixels) > _SIDE else cv2.INTER_LINEAR
        pixels = cast("NDArray[np.uint8]", cv2.resize(pixels, (_SIDE, _SIDE), interpolation=kernel))
    values = pixels.astype(np.float32) / 127.5 - 1
    found = []
    for weights, (kernel_side, stride, *_) in zip(_weights(), _LAYERS, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(values, (kernel_side, kernel_side), (0, 1))
        windows = windows[::stride, ::stride]
        height, width = windows.shape[:2]
        values = np.maximum(windows.reshape(height * width, -1) @ weights, 0)
        found += [values.mean(0), values.std(0)]
        values = values.reshape(height, width, -1)
    return np.concatenate(found).astype(np.float32)


@cache
def _weights() -> tuple[NDArray[np.float32], ...]:
    rng = np.random.default_rng(_SEED)
    return tuple(
        rng.normal(0, (2 / (side**2 * before)) ** 0.5, (before * side**2, after)).astype(np.float32)
        for side, _, before, after in _LAYERS
    )

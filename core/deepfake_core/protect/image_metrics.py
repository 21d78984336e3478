"""Measure the similarity of two images: PSNR and SSIM."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", section III-B.
_WINDOW, _SIGMA, _K1, _K2, _RANGE = 11, 1.5, 0.01, 0.03, 255.0


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Compute the peak signal-to-noise ratio of two ``uint8`` arrays of one shape, in dB; infinite for equal arrays."""
    error = float(np.mean(np.square(one.astype(np.float32) - other.astype(np.float32)), dtype=np.float64))
    return 10 * math.log10(_RANGE**2 / error) if error else math.inf


def ssim(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Compute the mean structural similarity of the luminance of two images ``uint8 [H, W, 3]`` RGB (Wang et al. 2004).

    It is at most 1, which equal images have.
    """
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (one, other))

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SIGMA), np.float32)

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2
    structure = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(structure / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)), dtype=np.float64))

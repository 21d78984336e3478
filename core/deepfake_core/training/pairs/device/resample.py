"""Resizing, warping and blurring of pictures on a device, as OpenCV does them on the host.

Pictures are ``float32 [n, C, H, W]``. Call the functions within
:func:`~deepfake_core.training.pairs.device.precision.full_precision`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def resize(images: Tensor, side: int, kernel: str) -> Tensor:
    """Resize square pictures to ``side`` pixels; without filtering before a reduction, except by ``"area"``.

    Args:
        images: Pictures.
        side: Side of the result in pixels.
        kernel: ``"nearest"``, ``"bilinear"``, ``"bicubic"`` (whose results may leave the range of the pictures) or
            ``"area"``, which enlarges as ``"bilinear"`` does.
    """
    if images.shape[-1] == side:
        return images
    if kernel == "nearest":
        return F.interpolate(images, size=(side, side), mode="nearest")
    if kernel == "area" and side < images.shape[-1]:
        weights = _shares(images.shape[-1], side, images.device)
        return weights @ images @ weights.mT
    return F.interpolate(images, size=(side, side), mode="bicubic" if kernel == "bicubic" else "bilinear")


@lru_cache(maxsize=64)
def _shares(before: int, after: int, device: torch.device) -> Tensor:
    """Return the share that each pixel of a row has in each pixel of the reduced row, ``float32 [after, before]``."""
    edges = torch.arange(after + 1, device=device) * (before / after)
    pixels = torch.arange(before, device=device)
    last = torch.minimum(edges[1:, None], pixels + 1)
    return (last - torch.maximum(edges[:-1, None], pixels)).clamp_(min=0).mul_(after / before)


def warp(images: Tensor, theta: Tensor, side: int, *, outside: str = "reflection") -> Tensor:
    """Take square pictures of ``side`` pixels from pictures by affine maps, with bilinear interpolation.

    Args:
        images: Pictures.
        theta: ``float32 [n, 2, 3]``: maps of output to input coordinates, which are x and y from -1 to 1 between the
            outer edges of a picture.
        side: Side of the result in pixels.
        outside: What lies beyond the edges: ``"reflection"`` or ``"zeros"``.
    """
    grid = F.affine_grid(theta, [len(images), images.shape[1], side, side], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def gaussians(sigma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return Gaussian kernels ``float32 [n, taps]``, each with the sum 1; the number of taps is odd.

    A kernel does not depend on the others: each ends at three times its own sigma, rounded up.

    Args:
        sigma: Standard deviations in pixels, ``float32 [n]``; 0 changes nothing.
    """
    radius = np.maximum(1, np.ceil(3 * sigma))
    distance = np.abs(np.arange(-radius.max(), radius.max() + 1, dtype=np.float32))
    weights = np.exp(-0.5 * (distance / np.maximum(sigma, 1e-3)[:, None]) ** 2)
    weights[distance > radius[:, None]] = 0
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def blur(images: Tensor, kernels: Tensor, *, outside: str = "reflect") -> Tensor:
    """Blur each picture by a kernel of its own, first along rows, then along columns.

    Args:
        images: Pictures ``float32 [n, C, H, W]``.
        kernels: ``float32 [n, taps]`` with an odd number of taps, such as those of :func:`gaussians`.
        outside: What lies beyond the edges: ``"reflect"`` (without the edge itself) or ``"constant"``, which is 0.
    """
    n, channels, height, width = images.shape
    taps = kernels.shape[1]
    radius = taps // 2
    planes = images.reshape(1, n * channels, height, width)
    weights = kernels.repeat_interleave(channels, 0) if channels > 1 else kernels
    padded = F.pad(planes, (radius, radius, radius, radius), mode=outside)
    rows = F.conv2d(padded, weights.view(n * channels, 1, 1, taps), groups=n * channels)
    return F.conv2d(rows, weights.view(n * channels, 1, taps, 1), groups=n * channels).view_as(images)

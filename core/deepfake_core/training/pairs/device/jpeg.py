"""JPEG on a device: what coding and decoding a picture as JPEG changes, at a quality of its own for each picture.

The steps are those of ITU-T T.81 and JFIF, with the tables and the rounding of libjpeg: RGB to YCbCr, mean of 2×2
chroma samples, cosine transform of 8×8 blocks, division by the table, and back. The lossless part of the code, which
changes no pixel, is left out.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# Quantisation tables of luma and chroma at quality 50 (ITU-T T.81, tables K.1 and K.2), row by row.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, *([99] * 32),
)  # fmt: skip

# RGB to YCbCr and back (JFIF 1.02), without the offset of 128 that both directions have.
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))

# libjpeg rounds halves away from zero, torch to even numbers. Flat blocks often have them.
_HALVES_UP = 1.0001


def tables(quality: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return libjpeg's quantisation tables of luma, Cb and Cr for each quality: ``float32 [n, 3, 64]``.

    Args:
        quality: Whole numbers from 1 to 100, ``float32 [n]``.
    """
    whole = np.clip(quality, 1, 100).astype(np.int64)
    scale = np.where(whole < 50, 5000 // whole, 200 - 2 * whole)
    base = np.array([_LUMA, _CHROMA, _CHROMA])
    return np.clip((base * scale[:, None, None] + 50) // 100, 1, 255).astype(np.float32)


def jpeg(images: Tensor, quantisation: Tensor, *, halved: bool) -> Tensor:
    """Return pictures ``float32 [n, 3, H, W]`` RGB as JPEG changes them; values are whole numbers from 0 to 255.

    Call it within :func:`~deepfake_core.training.pairs.device.precision.full_precision`.

    Args:
        images: Pictures with whole numbers from 0 to 255.
        quantisation: Tables of each picture, ``float32 [n, 3, 64]`` as :func:`tables` returns them.
        halved: Whether the chroma has half the resolution (4:2:0), or the full one (4:4:4).
    """
    height, width = images.shape[2:]
    unit = 16 if halved else 8
    padding = (0, -width % unit, 0, -height % unit)
    if any(padding):
        images = F.pad(images, padding, mode="replicate")
    ycc = _mixed(images, _TO_YCC, images.device).round_()
    table = quantisation
    if halved:
        luma = _coded(ycc[:, :1].sub(128), table[:, :1]).add_(128)
        chroma = _coded(_halved(ycc[:, 1:]), table[:, 1:])
        ycc = torch.cat([luma.clamp_(0, 255), _doubled(chroma.clamp_(-128, 127))], 1)
    else:
        ycc[:, :1] -= 128
        ycc = _coded(ycc, table).clamp_(-128, 127)
        ycc[:, :1] += 128
    return _mixed(ycc, _TO_RGB, images.device).round_().clamp_(0, 255)[..., :height, :width]


def _coded(planes: Tensor, table: Tensor) -> Tensor:
    """Transform, quantise and transform back the 8×8 blocks of planes ``float32 [n, c, H, W]``."""
    n, c, height, width = planes.shape
    basis = _basis(planes.device)
    blocks = planes.reshape(n, c, height // 8, 8, width // 8, 8).transpose(3, 4).reshape(n, c, -1, 64)
    table = table.reshape(n, c, 1, 64)
    steps = (blocks @ (basis.mT * _HALVES_UP)).div_(table).round_()
    blocks = (steps.mul_(table) @ basis).round_()
    return blocks.reshape(n, c, height // 8, width // 8, 8, 8).transpose(3, 4).reshape(n, c, height, width)


def _halved(chroma: Tensor) -> Tensor:
    """Return the mean of each 2×2 samples, as libjpeg rounds it: by turns half down and half up along a row."""
    mean = F.avg_pool2d(chroma, 2)
    bias = torch.tensor([0.25, 0.5], device=chroma.device).repeat(mean.shape[-1] // 2)
    return mean.add_(bias).floor_()


def _doubled(chroma: Tensor) -> Tensor:
    """Return chroma at twice the resolution, interpolated by a triangle as libjpeg does ("fancy upsampling")."""
    return F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False).round_()


def _mixed(images: Tensor, matrix: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    weights = _matrix(matrix, device)
    return torch.matmul(weights, images.flatten(2)).view_as(images)


@cache
def _matrix(values: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


@cache
def _basis(device: torch.device) -> Tensor:
    """Return the 64 cosine functions of an 8×8 block, ``float32 [64 functions, 64 samples]``."""
    k = np.arange(8)
    rows = np.cos((2 * k + 1) * k[:, None] * np.pi / 16) / 2
    rows[0] /= np.sqrt(2)
    return torch.tensor(np.einsum("ui,vj->uvij", rows, rows).reshape(64, 64), dtype=torch.float32, device=device)

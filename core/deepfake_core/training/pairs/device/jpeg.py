"""JPEG on a device: what coding and decoding a picture as JPEG changes, at a quality of its own for each picture.

The steps are those of ITU-T T.81 and JFIF, with the tables and the rounding of libjpeg: RGB to YCbCr, mean of 2×2
chroma samples, cosine transform of 8×8 blocks, division by the table, and back. The lossless part of the code, which
changes no pixel, is left out.
"""

from __future__ import annotations

from functools import cache, lru_cache

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


def tables(quality: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return libjpeg's quantisation of luma, Cb and Cr for each quality: ``float32 [n, 2, 3, 64]``.

    The first of two is the table, by whose numbers the coefficients are divided; the second is added to them then.

    Args:
        quality: ``int [n]`` from 1 to 100.
    """
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    table = np.clip((np.array([_LUMA, _CHROMA, _CHROMA]) * scale[:, None, None] + 50) // 100, 1, 255)
    added = np.zeros(table.shape)
    # Luma is coded less 128, which is 1024 less in the first coefficient of a block.
    added[:, 0, 0] = -1024 * _HALVES_UP / table[:, 0, 0]
    return np.stack([table, added], 1).astype(np.float32)


def jpeg(images: Tensor, quantisation: Tensor, *, halved: bool) -> Tensor:
    """Return pictures ``float32 [n, 3, H, W]`` RGB as JPEG changes them; values are whole numbers from 0 to 255.

    Call it within :func:`~deepfake_core.training.pairs.device.precision.full_precision`.

    Args:
        images: Pictures from 0 to 255.
        quantisation: Tables of each picture, ``float32 [n, 2, 3, 64]`` as :func:`tables` returns them.
        halved: Whether the chroma has half the resolution (4:2:0), or the full one (4:4:4).
    """
    height, width = images.shape[2:]
    unit = 16 if halved else 8
    padding = (0, -width % unit, 0, -height % unit)
    if any(padding):
        images = F.pad(images, padding, mode="replicate")
    ycc = mixed(images, _TO_YCC).round_()
    if halved:
        luma = _coded(ycc[:, :1], quantisation[:, :, :1])
        chroma = _coded(_halved(ycc[:, 1:]), quantisation[:, :, 1:])
        chroma = F.interpolate(chroma.round_(), scale_factor=2, mode="bilinear")  # libjpeg's "fancy upsampling"
        ycc = torch.cat([levels(luma), chroma.round_()], 1)
    else:
        ycc = _coded(ycc, quantisation).round_()
        ycc[:, :1].clamp_(0, 255)
    return levels(mixed(ycc, _TO_RGB))[..., :height, :width]


def levels(images: Tensor) -> Tensor:
    """Round to whole grey levels from 0 to 255, in place."""
    return images.round_().clamp_(0, 255)


def mixed(images: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Multiply every pixel of pictures ``float32 [n, 3, H, W]`` by a matrix of 3 × 3 numbers."""
    weights = _matrix(matrix, images.device).expand(len(images), -1, -1)
    return torch.bmm(weights, images.flatten(2)).view_as(images)


def _coded(planes: Tensor, quantisation: Tensor) -> Tensor:
    """Transform, quantise and transform back the 8×8 blocks of planes ``float32 [n, c, H, W]``."""
    n, c, height, width = planes.shape
    forward, back = _bases(planes.device)
    shape = n, c, height // 8, 8, width // 8, 8
    blocks = planes.reshape(shape).permute(0, 1, 3, 5, 2, 4).reshape(n * c, 64, -1)
    steps = torch.bmm(forward.expand(n * c, -1, -1), blocks)
    table, added = (part.reshape(n * c, 64, 1) for part in quantisation.unbind(1))
    rounded = steps.div_(table).add_(added).round_().sub_(added).mul_(table)
    blocks = torch.bmm(back.expand(n * c, -1, -1), rounded)
    return blocks.view(n, c, 8, 8, height // 8, width // 8).permute(0, 1, 4, 2, 5, 3).reshape_as(planes)


def _halved(chroma: Tensor) -> Tensor:
    """Return the mean of each 2×2 samples, as libjpeg rounds it: by turns half down and half up along a row."""
    mean = F.avg_pool2d(chroma, 2)
    return mean.add_(_bias(mean.shape[-1], chroma.device)).floor_()


@lru_cache(maxsize=256)
def _bias(width: int, device: torch.device) -> Tensor:
    return 0.25 + 0.25 * (torch.arange(width, device=device) % 2)


@cache
def _matrix(values: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


@cache
def _bases(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the cosine transform of the 64 samples of an 8×8 block and its inverse, ``float32 [64, 64]`` each."""
    k = np.arange(8)
    rows = np.cos((2 * k + 1) * k[:, None] * np.pi / 16) / 2
    rows[0] /= np.sqrt(2)
    basis = np.einsum("ui,vj->uvij", rows, rows).reshape(64, 64)
    forward, back = (torch.tensor(part, dtype=torch.float32, device=device) for part in (basis * _HALVES_UP, basis.T))
    return forward, back

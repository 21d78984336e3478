"""Degradations that an image undergoes before it is manipulated, differentiable from end to end.

A perturbation that is trained through them survives them: 8-bit rounding, JPEG, resizing and cropping. The gradient
ignores rounding (straight-through estimator, Bengio et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_core.protect.protectors import levels

# Tables K.1 and K.2 of ITU-T T.81
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# ITU-R BT.601 with full range, as JFIF has it
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_BLOCK = 8
_CHROMA_BLOCK = 2 * _BLOCK


def add_bounded(images: Tensor, perturbation: Tensor, epsilon: float) -> Tensor:
    """Add a perturbation as it will be in an 8-bit image: in whole levels, at most ``floor(255 · epsilon)``.

    Args:
        images: float32 [N, 3, H, W] in [0, 1], on whole levels.
        perturbation: Change of the pixels, float32 [N, 3, H, W].
        epsilon: Bound of the change, in units of the pixel range [0, 1].

    Returns:
        float32 [N, 3, H, W] in [0, 1], on whole levels.
    """
    most = levels(epsilon) / 255
    return (images + _rounded(perturbation.clamp(-most, most))).clamp(0, 1)


def degraded(images: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
    """Send clean and protected images through the same random chain of degradations.

    Args:
        images: M versions of N images, float32 [M, N, 3, H, W] in [0, 1].
        generator: Generator of the random choices; by default torch's own.

    Returns:
        The M versions, each float32 [N, 3, H, W] in [0, 1].
    """
    kind, amount, place_x, place_y = torch.rand(4, generator=generator).tolist()
    height, width = images.shape[3:]
    flat = _window(images.flatten(0, 1), torch.rand(1, generator=generator).item(), place_x, place_y)
    if kind < 0.35:
        flat = jpeg(flat, 40 + 55 * amount)
    elif kind < 0.65:
        flat = reduced(flat, 0.35 + 0.6 * amount)
    elif kind < 0.8:
        flat = jpeg(reduced(flat, 0.4 + 0.5 * amount), 60 + 35 * place_x)
    assert flat.shape[2:] == (height, width)
    return flat.reshape(images.shape).unbind(0)


def _window(images: Tensor, share: float, place_x: float, place_y: float) -> Tensor:
    """Return a random part, 80 to 100 % of each side, at the size of the whole, as if faces were cut anew."""
    height, width = images.shape[2:]
    h, w = (round(side * (0.8 + 0.2 * share)) for side in (height, width))
    y, x = round(place_y * (height - h)), round(place_x * (width - w))
    return F.interpolate(images[..., y : y + h, x : x + w], size=(height, width), mode="bilinear", antialias=True)


def reduced(images: Tensor, scale: float) -> Tensor:
    """Resize images float32 [N, 3, H, W] in [0, 1] by ``scale``, round them to whole levels, and resize them back."""
    height, width = images.shape[2:]
    size = max(1, round(scale * height)), max(1, round(scale * width))
    small = _rounded(F.interpolate(images, size=size, mode="bilinear", antialias=True))
    return F.interpolate(small, size=(height, width), mode="bilinear", antialias=True)


def jpeg(images: Tensor, quality: float) -> Tensor:
    """Code images float32 [N, 3, H, W] in [0, 1] as JPEG (ITU-T T.81) with halved chroma, and decode them.

    Args:
        images: Images; sides that are no multiples of 16 are padded by repeating the edge.
        quality: Quality from 1 to 100, by which the quantisation tables are scaled as libjpeg does.
    """
    height, width = images.shape[2:]
    padding = (0, -width % _CHROMA_BLOCK, 0, -height % _CHROMA_BLOCK)
    images = F.pad(images, padding, mode="replicate") if any(padding) else images
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    matrix = torch.tensor(_TO_YCC, device=images.device)
    colours = torch.einsum("ij,njhw->nihw", matrix, 255 * images)
    luma = _quantised(colours[:, :1] - 128, _table(_LUMA, scale).to(images.device)) + 128
    chroma = _quantised(F.avg_pool2d(colours[:, 1:], 2), _table(_CHROMA, scale).to(images.device))
    chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear")
    decoded = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), torch.cat([luma, chroma], dim=1)) / 255
    return _rounded(decoded[..., :height, :width].clamp(0, 1))


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Quantise the 8 × 8 cosine transform of planes float32 [N, C, H, W]."""
    cosine = _cosine().to(planes.device)
    count, channels, height, width = planes.shape
    blocks = planes.reshape(count, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    spectrum = torch.einsum("ui,ncyixj,vj->ncyuxv", cosine, blocks, cosine) / table[:, None]
    spectrum = _straight_through(spectrum, spectrum.round()) * table[:, None]
    return torch.einsum("ui,ncyuxv,vj->ncyixj", cosine, spectrum, cosine).reshape(planes.shape)


def _table(table: tuple[tuple[int, ...], ...], scale: float) -> Tensor:
    return ((torch.tensor(table, dtype=torch.float32) * scale + 50) / 100).floor().clamp(1, 255)


@cache
def _cosine() -> Tensor:
    """Return the orthonormal matrix of the DCT-II, float32 [8, 8]."""
    place = torch.arange(_BLOCK, dtype=torch.float32)
    matrix = torch.cos(math.pi / _BLOCK * (place[None] + 0.5) * place[:, None]) * math.sqrt(2 / _BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix


def _rounded(values: Tensor) -> Tensor:
    """Round values to the nearest of the 256 levels of [0, 1]."""
    return _straight_through(values, (255 * values).round() / 255)


def _straight_through(values: Tensor, changed: Tensor) -> Tensor:
    return values + (changed - values).detach()

"""The inputs of the two artefact branches: edges, and the high frequencies of the spectrum. Neither is learnt.

Both are computed in float32 whatever the precision around them: in bfloat16 the log-spectrum is off by 0.026.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SPECTRUM_SIZE = 112
"""Side in pixels of the image whose spectrum is computed."""
CUTOFF, SOFTNESS = 14.0, 10.0
"""The high-pass filter is sigmoid((d - CUTOFF) / SOFTNESS), with d the distance from frequency zero in bins."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_TINY = 1e-12  # inside of the root, so that its gradient is finite where an image is flat
_FAINTEST = 0.01  # slope below which an image has no edges but rounding errors, which differ between runtimes


def exact(images: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast; an empty one where it is off, so that exported graphs hold no trace of it."""
    kind = images.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else contextlib.nullcontext()


class EdgeMap(nn.Module):
    """Magnitude of the luma's Sobel gradient: float32 [N, 3, H, W] → float32 [N, 1, H, W] in [0, 1].

    Each image's strongest edge is 1; a flat image has no edges.
    """

    luma: Tensor
    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        self.register_buffer("luma", _luma(), persistent=False)
        self.register_buffer("kernels", torch.stack([across, across.T])[:, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the edges float32 [N, 1, H, W] in [0, 1] of images [N, 3, H, W]."""
        with exact(images):
            grey = (images.float() * self.luma).sum(1, keepdim=True)
            # Borders are repeated: zeros would draw a frame that is stronger than any edge of the face.
            slopes = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), self.kernels)
            magnitude = (slopes.square().sum(1, keepdim=True) + _TINY).sqrt()
            return magnitude / magnitude.amax((2, 3), keepdim=True).clamp_min(_FAINTEST)


class SpectrumMap(nn.Module):
    """High-passed log-spectrum of the luma: float32 [N, 3, H, W] → float32 [N, 1, 112, 112], ≥ 0.

    It is ``log1p(|F| · h)`` with frequency zero in the middle, where F is the discrete Fourier transform of the image
    at 112 × 112 and h a soft high-pass filter. The transform is two products with one constant matrix, which holds the
    real part of the transform along one axis above its imaginary part, with rows in the order of ``fftshift``. Every
    runtime computes that alike, and samples cannot mix.
    """

    luma: Tensor
    basis: Tensor
    high_pass: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("luma", _luma(), persistent=False)
        self.register_buffer("basis", torch.from_numpy(_fourier_basis(SPECTRUM_SIZE)), persistent=False)
        self.register_buffer("high_pass", torch.from_numpy(_high_pass(SPECTRUM_SIZE)), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the spectrum float32 [N, 1, 112, 112] of images [N, 3, H, W]."""
        size = SPECTRUM_SIZE
        with exact(images):
            small = F.interpolate(images.float(), size=(size, size), mode="bilinear", align_corners=False)
            grey = (small * self.luma).sum(1)
            # The constant is the left factor in both products: as the right one it would look like a layer's weights,
            # and exports that round weights would round it.
            both = self.basis @ (self.basis @ grey.transpose(1, 2)).transpose(1, 2)
            # (C - iS) X (C - iS)ᵀ, in blocks of C and S = [real; imaginary] of the basis
            real = both[:, :size, :size] - both[:, size:, size:]
            imaginary = both[:, :size, size:] + both[:, size:, :size]
            magnitude = (real.square() + imaginary.square() + _TINY).sqrt()
            return torch.log1p(magnitude * self.high_pass)[:, None]


def _luma() -> Tensor:
    return torch.tensor(_LUMA).view(1, 3, 1, 1)


def _fourier_basis(size: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the real above the imaginary part of the shifted transform of one axis, float32 [2·size, size]."""
    frequencies = np.arange(size) - size // 2
    angles = 2 * np.pi * np.outer(frequencies, np.arange(size)) / size
    return np.concatenate([np.cos(angles), -np.sin(angles)]).astype(np.float32)


def _high_pass(size: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the filter over the shifted spectrum, float32 [size, size] in (0, 1)."""
    frequencies = np.arange(size) - size // 2
    distance = np.hypot(frequencies[:, None], frequencies[None, :])
    return (1 / (1 + np.exp(-(distance - CUTOFF) / SOFTNESS))).astype(np.float32)

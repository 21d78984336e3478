"""How much detail an image has: the energy of its luma in octaves of spatial frequency."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

OCTAVES = 5
"""Number of octaves of spatial frequency that are detail, from the finest one on."""

DETAIL_FACTORS = (0.1, 3.0)
"""Smallest and largest factor of an octave of detail."""

DETAIL_FLOOR = 0.3
"""Standard deviation in grey levels whose energy is added to that of each octave: less is not detail."""


@dataclass(frozen=True)
class Detail:
    """How the detail of images of one side is measured and changed, in the real Fourier transform of their luma.

    The factor of an octave is the square root of the ratio of two energies, of which each is ``floor`` more than
    measured, and limited to :data:`DETAIL_FACTORS`. Between the middles of two octaves, the logarithm of the factor is
    interpolated.

    Attributes:
        window: Weights of the pixels that are measured, ``float32 [S, S]``: what is near the edge counts less.
        octaves: Whether a frequency is in an octave, ``float32 [S·(S // 2 + 1), OCTAVES]``.
        shares: Shares of the octaves' logarithms in that of a frequency, ``float32 [S·(S // 2 + 1), OCTAVES]``.
        floor: Energy of noise with the standard deviation :data:`DETAIL_FLOOR`.
    """

    window: Floats
    octaves: Floats
    shares: Floats
    floor: float


@cache
def detail_of(side: int) -> Detail:
    """Return how detail is measured in images of a side in pixels."""
    line = np.hanning(side + 2)[1:-1]
    window = np.outer(line, line)
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)).reshape(-1, 1)
    octave = -np.log2(np.maximum(radius, 1e-9)) - 1 - np.arange(OCTAVES)  # 0 to 1 within an octave
    within = (octave >= 0) & (octave < 1)
    shares = np.clip(1 - np.abs(octave - 0.5), 0, 1)
    shares[:, :1] = np.where(octave[:, :1] < 0.5, 1, shares[:, :1])
    floor = DETAIL_FLOOR**2 * side**2 * np.square(window).sum() / 2
    return Detail(window.astype(np.float32), within.astype(np.float32), shares.astype(np.float32), float(floor))

"""Numbers of a face that have nothing to do with forgery: what a network could learn in place of it."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from deepfake_core.inputs.crop import resize
from deepfake_registry.manifest import Resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

OCTAVES = 4
"""Number of octaves of spatial frequency, from the finest one on, that are compared with a coarse one."""

SHARPNESS = tuple(f"sharpness_{octave}" for octave in range(1, OCTAVES + 1))

NAMES: tuple[str, ...] = (
    "brightness",
    "contrast",
    "clipped",
    "saturation",
    "colour_cast",
    "grey",
    *SHARPNESS,
    "colour_detail",
    "noise",
    "jpeg_grid",
    "background_detail",
    "border_flat",
    "border_level",
    "border_step",
)
"""Names of the numbers that :func:`features_of` returns, in their order."""

_GREY = 2.0  # mean difference of the channels, in levels, up to which a picture counts as grey
_FLAT = 3.0  # standard deviation of a row, in levels, up to which it counts as flat
_LEAST_NOISE = 0.05  # in levels: the rounding of 8-bit pixels
_EPS = 1e-3


def features_of(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Return the numbers ``float32 [F]`` named in :data:`NAMES` of a square crop ``uint8 [H, W, 3]`` RGB.

    - ``brightness``, ``contrast``: mean and standard deviation of the luma, in [0, 1]; ``clipped``: share of pixels
      that are black or white.
    - ``saturation``: mean difference of the largest and the smallest channel, in [0, 1]; ``colour_cast``: mean of red
      minus blue, in [-1, 1]; ``grey``: 1 for a picture without colour, else 0.
    - ``sharpness_1`` … ``sharpness_4``: natural logarithm of the energy in an octave of spatial frequency, divided by
      that in the sixth and all coarser ones; ``sharpness_1`` is the finest octave, up to half a cycle per pixel.
    - ``colour_detail``: logarithm of fine detail in colour, divided by that in luma.
    - ``noise``: logarithm of the standard deviation of the noise, in levels (Donoho & Johnstone 1994).
    - ``jpeg_grid``: strength of a periodic grid, whatever its period is after the resize.
    - ``background_detail``: logarithm of the detail near the edge, divided by that in the middle.
    - ``border_flat``: share of the crop's side that is flat rows or columns at its edges; ``border_level``: brightness
      of the outermost pixels minus that of the crop; ``border_step``: step from the outermost pixels inwards.

    Args:
        pixels: Crop, which is resized to ``side`` where it has another size.
        side: Side in pixels of the detector's input.
    """
    if pixels.shape[:2] != (side, side):
        pixels = resize(pixels, Resize(height=side, width=side))
    red, green, blue = cv2.split(pixels)
    spread = cv2.mean(cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)))[0]
    luma = _luma(pixels)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(luma))
    found = [
        mean / 255,
        deviation / 255,
        1 - cv2.countNonZero(cv2.inRange(luma, 1.5, 253.5)) / luma.size,
        spread / 255,
        (cv2.mean(red)[0] - cv2.mean(blue)[0]) / 255,
        float(spread <= _GREY),
        *_sharpness(luma),
        _colour_detail(pixels),
        _noise(luma),
        _grid(luma),
        _background_detail(luma),
        *_border(luma, mean),
    ]
    return np.array(found, np.float32)


def sharpness_of(pixels: NDArray[np.uint8]) -> float:
    """Return ``sharpness_1`` of a square crop ``uint8 [S, S, 3]`` RGB, which is not resized."""
    return _sharpness(_luma(pixels))[0]


def _luma(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cast("NDArray[np.float32]", cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY))


def _sharpness(luma: NDArray[np.float32]) -> list[float]:
    side = len(luma)
    window = np.hanning(side).astype(np.float32)
    spectrum = np.fft.rfft2((luma - luma.mean()) * window[:, None] * window)
    energy = (spectrum.real**2 + spectrum.imag**2).ravel()
    octave = _octaves(side)
    total = np.bincount(octave, energy, minlength=OCTAVES + 2)
    return [math.log((total[place] + _EPS) / (total[OCTAVES + 1] + _EPS)) for place in range(OCTAVES)]


@cache
def _octaves(side: int) -> NDArray[np.intp]:
    """Return the octave of each frequency of a picture's real Fourier transform, ``intp [S · (S // 2 + 1)]``.

    0 is the finest, :data:`OCTAVES` + 1 all from the sixth one on; the mean and the corners have the next number.
    """
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)).ravel()
    octave = np.floor(-np.log2(np.maximum(radius, 1e-9)) - 1 + 1e-9)
    octave = np.clip(octave, 0, OCTAVES + 1)
    return np.where((radius == 0) | (radius > 0.5), OCTAVES + 2, octave).astype(np.intp)


def _colour_detail(pixels: NDArray[np.uint8]) -> float:
    planes = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    steps = np.add(cv2.mean(cv2.absdiff(planes[1:], planes[:-1])), cv2.mean(cv2.absdiff(planes[:, 1:], planes[:, :-1])))
    return math.log((float(steps[1] + steps[2]) + _EPS) / (float(steps[0]) + _EPS))


def _noise(luma: NDArray[np.float32]) -> float:
    across = luma[:, 1:] - luma[:, :-1]
    return math.log(float(np.median(cv2.absdiff(across[1:], across[:-1]))) / (2 * 0.6745) + _LEAST_NOISE)


def _grid(luma: NDArray[np.float32]) -> float:
    """Return the logarithm of the highest peak in the spectrum of the steps between columns and rows, over their mean.

    The steps at the edges of JPEG's blocks come at even distances, also after a resize.
    """
    power = np.zeros(len(luma) // 2)
    for picture in (luma, np.ascontiguousarray(luma.T)):
        steps = cv2.reduce(cv2.absdiff(picture[1:], picture[:-1]), 1, cv2.REDUCE_AVG).ravel()
        high = np.convolve(steps / (steps.mean() + _EPS), [-0.5, 1, -0.5], "same")
        power += np.abs(np.fft.rfft(high * np.hanning(len(high)))[: len(power)]) ** 2
    periods = power[len(luma) // 48 + 1 : len(luma) // 3 + 1]
    return math.log((float(periods.max(initial=0.0)) + 1e-9) / (float(power.mean()) + 1e-9))


def _background_detail(luma: NDArray[np.float32]) -> float:
    detail = np.abs(cv2.Laplacian(luma, cv2.CV_32F))
    side, ring, quarter = len(luma), max(1, len(luma) // 8), len(luma) // 4
    inner = detail[ring : side - ring, ring : side - ring]
    middle = detail[quarter : side - quarter, quarter : side - quarter]
    outer = (float(detail.sum()) - float(inner.sum())) / max(1, detail.size - inner.size)
    return math.log((outer + _EPS) / (float(middle.mean()) + _EPS))


def _border(luma: NDArray[np.float32], mean: float) -> tuple[float, float, float]:
    side, width, quarter = len(luma), max(1, len(luma) // 56), max(1, len(luma) // 4)
    across, down = (
        np.sqrt(np.maximum(0, cv2.reduce(luma**2, axis, cv2.REDUCE_AVG) - cv2.reduce(luma, axis, cv2.REDUCE_AVG) ** 2))
        for axis in (1, 0)
    )
    flat = 0
    for spread in (across.ravel(), across.ravel()[::-1], down.ravel(), down.ravel()[::-1]):
        uneven = spread[:quarter] > _FLAT
        flat += int(uneven.argmax()) if uneven.any() else quarter
    turned = [luma, luma[::-1], luma.T, luma.T[::-1]]  # each edge in turn is the first rows
    outer = np.stack([picture[:width].mean(0) for picture in turned])
    inner = np.stack([picture[2 * width : 3 * width].mean(0) for picture in turned])
    return flat / side, (float(outer.mean()) - mean) / 255, float(np.abs(outer - inner).mean()) / 255

"""The mark of protected faces: a faint pattern that survives compression, resizing and cropping, and is read here.

Protection changes what detectors see, so the score of a protected face means nothing: whoever protects a fake would
hide it. ``protect`` therefore embeds this pattern (:mod:`deepfake_core.protect.marking`), and a face that carries it
is not judged.

The pattern has its own coordinates: a square around the face, :data:`MARGIN` times the longer side of its box, so that
the face finder is all that a reader needs to find it again. Its frequencies have random phases, which are the key; a
reader compares them with the phases of the picture at a few scales and shifts, since boxes vary. The phases of a
picture without the mark know nothing of the key. At one scale and shift, the strength then exceeds z with a probability
of at most exp(-z²/2), whatever the picture shows (each term is the cosine of a uniform angle, whose moments are below
those of a normal distribution of variance 1/2). With all that are tried, the bound at :data:`MARKED` is 6e-8 a face.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_core.inputs.prepare import Prepared
    from deepfake_registry.manifest import PreprocessSpec

MARGIN = 1.3
"""Side of the square that the pattern fills, over the longer side of the face box."""
MARKED = 7.0
"""Strength from which on a face counts as marked, in standard deviations of what faces without the mark have."""

# Cycles per side of the square. Coarser ones drown in the picture itself, finer ones are lost when it shrinks.
_LOW, _HIGH = 10, 34
_KEY = b"deepfake-core: protected"
# Finest frequency that is used, in cycles per pixel of the picture; the rest may be lost.
_FINEST = 0.45
# With fewer frequencies, which is the case below 30 pixels, the face is too small to carry the mark.
_FEWEST = 200
# The largest part of the reader's view, in sides of the square, and its side in pixels.
_VIEW, _VIEW_SIDE = 1.1, 104
_SCALES = (0.9, 0.925, 0.95, 0.975, 1.0, 1.025, 1.05, 1.075, 1.1)
_SHIFTS = 0.005 * np.arange(-8, 9)

ROWS, COLUMNS = np.arange(-_HIGH, _HIGH + 1), np.arange(_HIGH + 1)
"""Vertical and horizontal frequencies of the pattern, in cycles per side of the square."""


def key(side: float) -> NDArray[np.complex64]:
    """Return the phases of the pattern on a face whose square has this side in pixels.

    Returns:
        ``complex64 [rows, columns]`` of amplitude 1, and 0 for frequencies that are not used.
    """
    whole, radius = _whole_key()
    return np.asarray(whole * (radius <= _FINEST * side), np.complex64)


@lru_cache(maxsize=1)
def _whole_key() -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    radius = np.hypot(ROWS[:, None], COLUMNS[None])
    used = (radius >= _LOW) & (radius <= _HIGH) & ((COLUMNS[None] > 0) | (ROWS[:, None] > 0))
    drawn = np.frombuffer(hashlib.shake_256(_KEY).digest(2 * used.size), "<u2").reshape(used.shape)
    return (np.exp(2j * np.pi * drawn / 65536) * used).astype(np.complex64), radius


@lru_cache(maxsize=64)
def transform(count: int, span: float, scale: float = 1.0) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Return the matrices R ``[rows, n]`` and C ``[n, columns]`` by which ``R @ view @ C`` is the spectrum of a view.

    Args:
        count: Side n of the view in pixels.
        span: Side of the view, in sides of the square, whose centre it shares.
        scale: Side of the square, over the side that the face box promises.
    """
    place = ((np.arange(count) + 0.5) / count - 0.5) * span
    window = np.cos(np.pi * place.clip(-0.5, 0.5))
    rows = np.exp(-2j * np.pi * ROWS[:, None] * place / scale) * window
    columns = np.exp(-2j * np.pi * place[:, None] * COLUMNS / scale) * window[:, None]
    return rows.astype(np.complex64), columns.astype(np.complex64)


@lru_cache(maxsize=1)
def _shifts() -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    rows = np.exp(2j * np.pi * _SHIFTS[:, None] * ROWS)
    columns = np.exp(2j * np.pi * COLUMNS[:, None] * _SHIFTS)
    return rows.astype(np.complex64), columns.astype(np.complex64)


def strength(crop: NDArray[np.uint8], margin: float, side: float) -> float:
    """Return how strongly a face carries the mark, in standard deviations of what faces without it have.

    Args:
        crop: Square crop of the face, ``uint8 [H, W, 3]`` RGB.
        margin: Crop margin: side of the crop divided by the longer side of the face box.
        side: Longer side of the face box in pixels of the picture.

    Returns:
        Largest strength at any scale and shift; 0 where the face is too small to carry the mark.
    """
    height, width = crop.shape[:2]
    phases = np.conj(key(min(MARGIN * side, min(height, width) * MARGIN / margin)))
    used = np.count_nonzero(phases)
    if used < _FEWEST:
        return 0.0
    span = min(margin / MARGIN, _VIEW)
    y, x = (round(length * (1 - span * MARGIN / margin) / 2) for length in (height, width))
    grey = cv2.cvtColor(crop[y : height - y, x : width - x], cv2.COLOR_RGB2GRAY)
    shrinks = min(grey.shape) > _VIEW_SIDE
    size = _VIEW_SIDE, _VIEW_SIDE
    view = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR).astype(np.float32)
    view -= view.mean()
    shift_rows, shift_columns = _shifts()
    best = 0.0
    for scale in _SCALES:
        rows, columns = transform(_VIEW_SIDE, span, scale)
        spectrum = rows @ (view @ columns)
        spectrum *= phases / (np.abs(spectrum) + 1e-9)
        best = max(best, float((shift_rows @ spectrum @ shift_columns).real.max()))
    return best / float(np.sqrt(used / 2))


def protected_faces(prepared: Prepared, spec: PreprocessSpec) -> tuple[bool, ...]:
    """Return for each crop of an input whether its face carries the mark.

    Of a clip, the first, the middle and the last frame are read. A whole picture that was not cut to a face is not
    read: where its faces are is not known.

    Args:
        prepared: Input with its crops ``uint8 [n, H, W, 3]``, or clips ``uint8 [n, T, H, W, 3]``.
        spec: Preprocessing that gave the crops.
    """
    if spec.crop.kind == "whole_image":
        return (False,) * len(prepared.faces)
    margin = spec.crop.margin
    found = []
    for crop, face in zip(prepared.crops, prepared.faces, strict=True):
        frames = crop[[0, len(crop) // 2, -1]] if crop.ndim == 4 else crop[None]
        side = max(face.box.width, face.box.height)
        found.append(any(strength(frame, margin, side) >= MARKED for frame in frames))
    return tuple(found)

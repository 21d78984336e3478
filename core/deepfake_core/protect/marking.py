"""Embed the mark of protected faces, which :mod:`deepfake_core.handle.mark` reads.

Only the phases of the pattern's frequencies are read, so a change is found for each face that turns the phases of this
very face towards those of the key: weak frequencies take little to turn. The change follows the texture of the face,
and it is no stronger than a safe reading needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.handle.mark import MARGIN, MARKED, key, strength, transform
from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.crop import crop_face, crop_square
from deepfake_core.protect.field import add_resized, fading
from deepfake_registry.manifest import FaceCrop

SIDE = 128
"""Side in pixels at which the change is computed."""

_SQUARE = FaceCrop(margin=MARGIN)
# Root mean squares of the change that are tried, in levels, and the strength at which no stronger one is needed. It is
# far above the threshold of reading, because compression and resizing weaken the mark.
_LEVELS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
_ENOUGH = 20.0
# Steps of the ascent at each of them.
_STEPS = 6
# Standard deviation, in levels, of the noise that a picture gets on its way: phases that it would turn do not count.
_NOISE = 1.5
# On flat regions, the change is this small a share of what it is on texture with a deviation far above the second.
_FLAT, _TEXTURE = 0.4, 8.0


def add_marks(field: NDArray[np.float32], pixels: NDArray[np.uint8], boxes: Sequence[Box], most: int) -> None:
    """Add the marks of faces to the change of a picture.

    Args:
        field: Change of the picture, ``float32 [H, W, 3]`` for pixels in [0, 1]; it is changed in place.
        pixels: Picture, ``uint8 [H, W, 3]`` RGB.
        boxes: Boxes of the faces, in pixels.
        most: Bound of the whole change, in levels.
    """
    changed = np.clip(np.round(pixels + np.clip(255 * field, -most, most)), 0, 255).astype(np.uint8)
    for box in boxes:
        left, top, side = crop_square(box, _SQUARE)
        face = cv2.resize(crop_face(changed, box, _SQUARE), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(face.astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(np.float32)
        change = mark_of(grey, side, most, fading(SIDE)) / 255
        add_resized(field, np.repeat(change[..., None], 3, axis=2), (left, top, side, side))


def carries_mark(pixels: NDArray[np.uint8], box: Box) -> bool:
    """Return whether the mark of a face can be read in a picture ``uint8 [H, W, 3]`` RGB."""
    return strength(crop_face(pixels, box, _SQUARE), MARGIN, max(box.width, box.height)) >= MARKED


def mark_of(face: NDArray[np.float32], side: float, most: int, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the change that makes a face carry the mark.

    Args:
        face: Square of the face, ``float32 [SIDE, SIDE]``, grey, in levels.
        side: Side of that square in pixels of the picture.
        most: Bound of the whole change of a pixel, in levels, of which the mark takes a part.
        weights: Share of the change that is applied at each place, ``float32 [SIDE, SIDE]``.

    Returns:
        Change of every channel, ``float32 [SIDE, SIDE]``, in levels.
    """
    rows, columns = transform(SIDE, 1.0)
    wanted = key(side)
    used = max(1, int(np.count_nonzero(wanted)))
    amount = (_FLAT + (1 - _FLAT) * _share(_deviation(face))) * weights
    own = rows @ ((face - face.mean()) @ columns)
    # Each frequency of white noise has the same variance: the sum of the squares of its coefficients.
    floor = (_NOISE**2) * float(np.square(np.abs(rows)).sum(1)[0] * np.square(np.abs(columns)).sum(0)[0])
    back_rows, back_columns = rows.conj().T, columns.conj().T
    field = np.zeros_like(face)
    change = field
    for deviation in _LEVELS:
        if deviation > most / 2:
            break
        for _ in range(_STEPS):
            spectrum = own + rows @ (change @ columns)
            length = np.sqrt(np.square(np.abs(spectrum)) + floor)
            slope = wanted / length - (wanted.conj() * spectrum).real / length**3 * spectrum
            ascent = (back_rows @ slope @ back_columns).real * amount
            field = field + 0.5 * deviation * ascent / (_rms(ascent) + 1e-12)
            change = amount * field
            field = field * deviation / (_rms(change) + 1e-12)
            change = (amount * field).astype(np.float32)
        spectrum = own + rows @ (change @ columns)
        length = np.sqrt(np.square(np.abs(spectrum)) + floor)
        if (wanted.conj() * spectrum / length).real.sum() / np.sqrt(used / 2) >= _ENOUGH:
            break
    return change


def _rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _deviation(face: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the local standard deviation of ``float32 [h, w]``, in levels."""
    mean = cv2.blur(face, (9, 9))
    return np.sqrt(np.maximum(cv2.blur(face * face, (9, 9)) - mean * mean, 0))


def _share(deviation: NDArray[np.float32]) -> NDArray[np.float32]:
    return deviation / (deviation + np.float32(_TEXTURE))

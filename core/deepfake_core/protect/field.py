"""Changes of a part of a picture, which fade out along its edge and are enlarged to its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Share of the side of a face's square along which a change fades out, so that no edge is visible.
_FADE = 0.06
# Number of rows that are enlarged at a time, which limits memory.
_STRIP = 256


def fading(side: int) -> NDArray[np.float32]:
    """Return weights ``float32 [side, side]`` that are 1 inside and fall towards 0 along the edges."""
    ramp = np.minimum(1.0, (0.5 + np.arange(side)) / max(1.0, _FADE * side)).astype(np.float32)
    edge = np.minimum(ramp, ramp[::-1])
    return np.asarray(np.minimum(edge[:, None], edge), np.float32)


def add_resized(field: NDArray[np.float32], change: NDArray[np.float32], rectangle: tuple[int, int, int, int]) -> None:
    """Resize a change ``float32 [h, w, 3]`` to a rectangle (left, top, width, height) of the field, and add it there.

    Parts of the rectangle outside of the field ``float32 [H, W, 3]`` are left out. Both ways of resizing compute
    averages only, so that the bound holds.
    """
    left, top, width, height = rectangle
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, field.shape[1]), min(top + height, field.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    scale_x, scale_y = change.shape[1] / width, change.shape[0] / height
    if scale_x > 1 or scale_y > 1:
        size = min(width, change.shape[1]), min(height, change.shape[0])
        change = np.asarray(cv2.resize(change, size, interpolation=cv2.INTER_AREA), np.float32)
        scale_x, scale_y = change.shape[1] / width, change.shape[0] / height
    # Only the part inside of the picture is computed, because the square of a face can be much larger than the picture.
    wide = _between(change.swapaxes(0, 1), (np.arange(x0, x1) - left + 0.5) * scale_x - 0.5).swapaxes(0, 1)
    rows = (np.arange(y0, y1) - top + 0.5) * scale_y - 0.5
    for start in range(0, len(rows), _STRIP):
        field[y0 + start : min(y0 + start + _STRIP, y1), x0:x1] += _between(wide, rows[start : start + _STRIP])


def _between(values: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate rows of ``float32 [n, w, 3]`` linearly at fractional places ``[m]``: ``float32 [m, w, 3]``."""
    places = places.clip(0, len(values) - 1)
    low = np.minimum(places.astype(np.intp), max(len(values) - 2, 0))
    share = (places - low).astype(np.float32)[:, None, None]
    mixed = (1 - share) * values[low] + share * values[np.minimum(low + 1, len(values) - 1)]
    return np.asarray(mixed, np.float32)

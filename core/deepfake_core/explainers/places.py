"""Names of places on a face, by the position of its features within the crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfake_registry.manifest import FaceCrop

if TYPE_CHECKING:
    from deepfake_registry.manifest import PreprocessSpec

# Rows of the face, as it lies in its box: the lower end, in heights of the box below its middle; half the width of the
# feature in the middle, in the same unit; and the names of the middle and of the sides. On 240 photographs the eyes lie
# at -0.12, the tip of the nose at 0.09 and the mouth at 0.24, all within 0.06.
_ROWS = (
    (-0.24, 1.0, "on the forehead", "on the forehead"),
    (0.0, 1.0, "around the eyes", "around the eyes"),
    (0.165, 0.13, "around the nose", "on the cheeks"),
    (0.34, 0.19, "around the mouth", "on the cheeks"),
    (0.52, 0.19, "around the chin", "on the jaw"),
)
_WIDTH, _TOP = 0.42, -0.54
_THIRDS = ("at the top left", "at the top", "at the top right", "at the left", "in the middle", "at the right",
           "at the bottom left", "at the bottom", "at the bottom right")  # fmt: skip


def strongest_place(heat: NDArray[np.float32], spec: PreprocessSpec) -> str:
    """Name the place where a map is strongest, such as "around the mouth".

    Args:
        heat: ``float32 [H, W]``.
        spec: Preprocessing that made the crop.
    """
    rows, columns = np.nonzero(heat >= heat.max() - 1e-6)
    down, right = (rows.mean() + 0.5) / heat.shape[0], (columns.mean() + 0.5) / heat.shape[1]
    if not isinstance(spec.crop, FaceCrop):
        return _THIRDS[3 * int(3 * down) + int(3 * right)]
    down, right = (down - 0.5) * spec.crop.margin, (right - 0.5) * spec.crop.margin
    if down >= _TOP and abs(right) <= _WIDTH:
        for end, half, middle, beside in _ROWS:
            if down < end:
                return middle if abs(right) < half else beside
    return "outside of the face"


def share_of_face(marked: NDArray[np.bool_], spec: PreprocessSpec) -> float:
    """Return how much of the face is marked, in [0, 1]; of a whole picture, how much of the picture.

    Args:
        marked: ``bool [H, W]``.
        spec: Preprocessing that made the crop.
    """
    height, width = marked.shape
    tall, wide = (1 / spec.crop.margin, 0.75 / spec.crop.margin) if isinstance(spec.crop, FaceCrop) else (1.0, 1.0)
    # A face fills the ellipse in its box.
    down, right = np.mgrid[0:height, 0:width]
    inside = ((down + 0.5) / height - 0.5) ** 2 / tall**2 + ((right + 0.5) / width - 0.5) ** 2 / wide**2 <= 0.25
    return float(marked[inside].mean()) if isinstance(spec.crop, FaceCrop) else float(marked.mean())

"""Cut, fill and resize: from an image and a face box to the network's input, as a ``PreprocessSpec`` says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, cast

import cv2
import numpy as np
from PIL import Image

from deepfake_core.inputs.boxes import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_registry.manifest import FaceCrop, PreprocessSpec, Resize

_PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
_OPENCV = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "area": cv2.INTER_AREA,
}


def crop_side(box: Box, spec: FaceCrop) -> int:
    """Return the side in pixels of the square around a face box: the crop margin times the box's longer side.

    Args:
        box: Box of the face, in pixels.
        spec: Crop to make.

    Raises:
        ValueError: The box is empty or not finite.
    """
    if not (min(box.width, box.height) > 0 and all(map(math.isfinite, (box.x, box.y, box.width, box.height)))):
        raise ValueError(f"a face box needs a finite position and a positive size, got {box}")
    return max(1, round(spec.margin * max(box.width, box.height)))


def crop_square(box: Box, spec: FaceCrop) -> tuple[int, int, int]:
    """Return left, top and side of the square around a face box, in pixels; it may reach beyond the image.

    Args:
        box: Box of the face, in pixels of the image.
        spec: Crop to make.

    Raises:
        ValueError: The box is empty or not finite.
    """
    side = crop_side(box, spec)
    return round(box.x + box.width / 2 - side / 2), round(box.y + box.height / 2 - side / 2), side


def crop_face(pixels: NDArray[np.uint8], box: Box, spec: FaceCrop) -> NDArray[np.uint8]:
    """Cut the square around a face from ``uint8 [h, w, 3]`` RGB; the result is ``uint8 [s, s, 3]`` RGB.

    The result has the scale of the image, so its size grows with the box; :func:`prepare_crop` bounds it.

    Args:
        pixels: Image.
        box: Box of the face, in pixels of the image.
        spec: Crop to make, and how to fill it beyond the edge of the image.

    Raises:
        ValueError: The box is empty or not finite.
    """
    left, top, side = crop_square(box, spec)
    height, width = pixels.shape[:2]
    if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
        return np.ascontiguousarray(pixels[top : top + side, left : left + side])
    rows, rows_inside = _source_index(top, side, height, spec.border)
    columns, columns_inside = _source_index(left, side, width, spec.border)
    square = pixels[rows].take(columns, axis=1)
    if spec.border == "constant":
        square[~rows_inside] = 0
        square[:, ~columns_inside] = 0
    return square


def resize(pixels: NDArray[np.uint8], spec: Resize) -> NDArray[np.uint8]:
    """Resize ``uint8 [h, w, 3]`` to ``uint8 [H, W, 3]`` with the interpolation that the specification names."""
    if pixels.shape[:2] == (spec.height, spec.width):
        return np.ascontiguousarray(pixels)
    size = spec.width, spec.height
    if spec.antialias:
        return np.array(Image.fromarray(pixels).resize(size, _PILLOW[spec.interpolation]))
    return cast("NDArray[np.uint8]", cv2.resize(pixels, size, interpolation=_OPENCV[spec.interpolation]))


def prepare_crop(pixels: NDArray[np.uint8], box: Box | None, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Cut and resize one face from ``uint8 [h, w, 3]`` RGB; the result is ``uint8 [H, W, 3]`` RGB.

    Memory stays within a few times the image and the output, however large the box is.

    Args:
        pixels: Image.
        box: Box of the face, in pixels of the image; ``None`` resizes the whole image.
        spec: Preprocessing to follow. If it takes whole images, the box is ignored.

    Raises:
        ValueError: The box is empty or not finite.
    """
    if box is None or spec.crop.kind == "whole_image":
        return resize(pixels, spec.resize)
    height, width = pixels.shape[:2]
    side = crop_side(box, spec.crop)
    working_side = 2 * max(spec.size)
    if side**2 > 4 * max(height * width, working_side**2):
        # The square is mostly border, which is filled near the scale of the network's input instead of the image's.
        scale = working_side / side
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cast("NDArray[np.uint8]", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        box = scale_box(box, scale, scale)
    return resize(crop_face(pixels, box, spec.crop), spec.resize)


def scale_box(box: Box, horizontal: float, vertical: float) -> Box:
    """Return the box in an image whose width and height are multiplied by the given factors."""
    return Box(box.x * horizontal, box.y * vertical, box.width * horizontal, box.height * vertical)


def _source_index(
    start: int, length: int, size: int, border: Literal["reflect", "replicate", "constant"]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the source pixel of ``length`` positions from ``start`` on, and whether each lies inside of ``size``."""
    index = np.arange(start, start + length)
    inside = (index >= 0) & (index < size)
    if border == "reflect" and size > 1:
        # Mirrored about the edge pixel, which is not repeated: 2 1 | 0 1 2 … n-2 n-1 | n-2 n-3
        period = 2 * (size - 1)
        index %= period
        index = np.minimum(index, period - index)
    return index.clip(0, size - 1), inside

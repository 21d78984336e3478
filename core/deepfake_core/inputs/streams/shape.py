"""How the stored frame of a video is shown: the part that is visible, the shape of its pixels, and its rotation."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import IO, TYPE_CHECKING

import numpy as np

from deepfake_core.inputs.streams.boxes import children, index

if TYPE_CHECKING:
    from numpy.typing import NDArray

SQUARE = Fraction(1)
# The widest pixels in use, of half-size PAL video at 16:9, are 2.9 times as wide as high.
_WIDEST = 4


@dataclass(frozen=True, slots=True)
class Edges:
    """Number of pixels that are not shown at each edge of the stored frame."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0


def pixel_shape(stated: Fraction | None) -> tuple[Fraction, str]:
    """Return the width of a pixel divided by its height, and a warning if what a file states cannot be meant."""
    if not stated or stated == SQUARE:
        return SQUARE, ""
    if not Fraction(1, _WIDEST) <= stated <= _WIDEST:
        return SQUARE, f"it states pixels of {stated.numerator}:{stated.denominator}, which were taken for square"
    return stated, ""


def shown_size(width: int, height: int, shape: Fraction) -> tuple[int, int]:
    """Return width and height at which ``width`` × ``height`` pixels of a shape are shown with square pixels."""
    return max(1, round(width * shape)), height


def shown(pixels: NDArray[np.uint8], edges: Edges, shape: Fraction, quarter_turns: int) -> NDArray[np.uint8]:
    """Return ``uint8 [h, w, 3]`` as it is shown.

    Args:
        pixels: Frame as stored.
        edges: What is not visible of it.
        shape: Width of a pixel divided by its height.
        quarter_turns: Rotation, counter-clockwise, in units of 90°.
    """
    height, width = pixels.shape[:2]
    if edges.left + edges.right < width and edges.top + edges.bottom < height:
        pixels = pixels[edges.top : height - edges.bottom, edges.left : width - edges.right]
    if shape != SQUARE:
        from deepfake_core.inputs.crop import resize
        from deepfake_registry.manifest import Resize

        width, height = shown_size(pixels.shape[1], pixels.shape[0], shape)
        pixels = resize(pixels, Resize(height=height, width=width, interpolation="bicubic", antialias=True))
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))


def mp4_edges(file: IO[bytes], track: int, width: int, height: int) -> Edges:
    """Return what the box ``clap`` of an MP4 or QuickTime file hides of the frames of a track.

    Args:
        file: Open file; its position is kept.
        track: Number of the track.
        width: Width of a stored frame, in pixels.
        height: Height of a stored frame, in pixels.
    """
    for trak in children(index(file), b"moov", b"trak"):
        header = next(children(trak, b"tkhd"), b"")
        at = 20 if header[:1] == b"\x01" else 12  # version 1 has times of 8 bytes
        if int.from_bytes(header[at : at + 4], "big") == track:
            for clap in children(trak, b"mdia", b"minf", b"stbl", b"stsd", b"clap"):
                return _clean_aperture(clap, width, height)
    return Edges()


def _clean_aperture(clap: bytes, width: int, height: int) -> Edges:
    """Return the edges that a box ``clap`` hides; none if its numbers cannot be meant."""
    numbers = [int.from_bytes(clap[at : at + 4], "big", signed=True) for at in range(0, 32, 4)]
    if len(clap) < 32 or min(numbers[1::2]) < 1:
        return Edges()
    wide, high, right, down = (Fraction(*numbers[at : at + 2]) for at in range(0, 8, 2))
    left, top = (width - wide) / 2 + right, (height - high) / 2 + down
    if wide < 1 or high < 1 or left < 0 or top < 0 or left + wide > width or top + high > height:
        return Edges()
    return Edges(round(left), width - round(left + wide), round(top), height - round(top + high))

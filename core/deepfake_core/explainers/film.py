"""Draw the heat maps of a clip over its frames, as a film strip (Pillow only)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deepfake_core.explainers.overlay import INK, PAPER, overlay, shortened

_SIDE, _GAP, _MARGIN = 112, 4, 12
_HEADER, _CAPTION, _ROW = 52, 22, 16


def film(
    clip: NDArray[np.uint8],
    heat: NDArray[np.float32],
    *,
    p_fake: float,
    p_frames: Sequence[float] = (),
    title: str = "",
    shows: str = "where it looks manipulated",
) -> Image.Image:
    """Draw the frames of a clip from left to right, their overlays below, and the P(fake) after each frame.

    Args:
        clip: ``uint8 [T, H, W, 3]`` RGB.
        heat: ``float32 [T, H, W]`` in [0, 1].
        p_fake: Score of the clip, in [0, 1].
        p_frames: Score after each frame, in [0, 1]; empty where the network has none.
        title: Line of text above the pictures; shortened to fit.
        shows: Caption of the heat maps.

    Raises:
        ValueError: Clip and heat maps differ in length, height or width.
    """
    if clip.shape[:3] != heat.shape:
        raise ValueError(f"clip is {clip.shape[:3]}, heat maps {heat.shape}")
    width = max(2 * _MARGIN + len(clip) * (_SIDE + _GAP) - _GAP, 3 * _SIDE)
    height = _HEADER + 2 * (_SIDE + _GAP) + _ROW + _CAPTION
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(18), ImageFont.load_default(13)
    draw.text((_MARGIN, 6), f"P(fake) = {p_fake:.3f}", fill=INK, font=large)
    draw.text((_MARGIN, 30), shortened(title, draw, small, width - 2 * _MARGIN), fill=INK, font=small)
    for number, (frame, map_) in enumerate(zip(clip, heat, strict=True)):
        left = _MARGIN + number * (_SIDE + _GAP)
        for row, pixels in enumerate((frame, overlay(frame, map_))):
            view = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            sheet.paste(view, (left, _HEADER + row * (_SIDE + _GAP)))
        if len(p_frames):
            place = left + _SIDE / 2, _HEADER + 2 * (_SIDE + _GAP)
            draw.text(place, f"{p_frames[number]:.2f}", fill=INK, font=small, anchor="ma")
    draw.text((_MARGIN, height - _CAPTION), f"above: what the network saw; below: {shows}", fill=INK, font=small)
    return sheet

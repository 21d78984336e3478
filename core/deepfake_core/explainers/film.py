"""Draw the heat maps of a clip over its frames, as a film strip (Pillow only)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake_core.explainers.overlay import INK, MARGIN, Page, overlay

_SIDE, _GAP, _LEAST = 112, 4, 600
_CAPTION, _ROW = 22, 16


def film(
    clip: NDArray[np.uint8],
    heat: NDArray[np.float32],
    *,
    p_fake: float | None,
    p_frames: Sequence[float] = (),
    band: tuple[float, float] = (0.5, 0.5),
    title: str = "",
    sentence: str = "",
    shows: str = "where it looks manipulated",
    meaning: str = "",
    floor: float = 0.0,
) -> Image.Image:
    """Draw the frames of a clip from left to right, their overlays below, and the P(fake) after each frame.

    Args:
        clip: ``uint8 [T, H, W, 3]`` RGB.
        heat: ``float32 [T, H, W]`` in [0, 1].
        p_fake: Score of the clip, in [0, 1]; ``None`` where it has none.
        p_frames: Score after each frame, in [0, 1]; empty where the network has none.
        band: P(fake) below which the verdict is ``real``, and from which it is ``fake``.
        title: Line of text at the bottom; shortened to fit.
        sentence: What the maps show.
        shows: Caption of the heat maps.
        meaning: What a colour in the maps means.
        floor: Value in [0, 1) up to which the maps are drawn without colour.

    Raises:
        ValueError: Clip and heat maps differ in length, height or width.
    """
    if clip.shape[:3] != heat.shape:
        raise ValueError(f"clip is {clip.shape[:3]}, heat maps {heat.shape}")
    width = max(2 * MARGIN + len(clip) * (_SIDE + _GAP) - _GAP, _LEAST)
    frames, scores = 2 * (_SIDE + _GAP), _ROW if len(p_frames) else 0
    page = Page(width, frames + scores + _CAPTION, band, p_fake, sentence, meaning, title)
    for number, (frame, map_) in enumerate(zip(clip, heat, strict=True)):
        left = MARGIN + number * (_SIDE + _GAP)
        for row, pixels in enumerate((frame, overlay(frame, map_, floor))):
            view = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            page.image.paste(view, (left, page.top + row * (_SIDE + _GAP)))
        if len(p_frames):
            place = left + _SIDE / 2, page.top + frames
            page.draw.text(place, f"{p_frames[number]:.1%}", fill=INK, font=page.small, anchor="ma")
    caption = f"above: what the network saw; below: {shows}" + ("; P(fake) after each frame" if len(p_frames) else "")
    page.draw.text((MARGIN, page.top + frames + scores + 2), caption, fill=INK, font=page.small)
    return page.image

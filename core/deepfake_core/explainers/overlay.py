"""Draw a heat map over the crop that it explains (Pillow only)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Dark to light, so that it also reads in grey: violet, crimson, orange, pale yellow.
_STOPS = np.array([0.0, 0.35, 0.7, 1.0])
_COLOURS = np.array([(40, 10, 90), (190, 30, 80), (250, 140, 20), (255, 245, 160)], dtype=np.float64)
_STRENGTH = 0.6

INK, PAPER = (25, 25, 25), (255, 255, 255)
"""Colours of text and background."""


def colours(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map a heat ``float32 [...]`` in [0, 1] to colours ``uint8 [..., 3]`` RGB."""
    channels = [np.interp(heat, _STOPS, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(crop: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blend a heat map over its crop; where the heat is 0, the crop shows unchanged.

    Args:
        crop: ``uint8 [H, W, 3]`` RGB.
        heat: ``float32 [H, W]`` in [0, 1].

    Returns:
        ``uint8 [H, W, 3]`` RGB.

    Raises:
        ValueError: The two differ in height or width.
    """
    if crop.shape[:2] != heat.shape:
        raise ValueError(f"crop is {crop.shape[:2]}, heat map {heat.shape}")
    # Faint heat is nearly transparent: a low, even probability must not paint the whole face.
    alpha = (_STRENGTH * np.clip(heat, 0.0, 1.0) ** 0.75)[..., None]
    return (crop * (1.0 - alpha) + colours(heat) * alpha).round().astype(np.uint8)


def panel(
    crop: NDArray[np.uint8],
    heat: NDArray[np.float32],
    *,
    p_fake: float,
    title: str = "",
    shows: str = "where it looks manipulated",
) -> Image.Image:
    """Draw crop and overlay side by side, with P(fake), a title and a colour bar.

    Args:
        crop: ``uint8 [H, W, 3]`` RGB.
        heat: ``float32 [H, W]`` in [0, 1].
        p_fake: Score of the crop, in [0, 1].
        title: Line of text above the pictures; shortened to fit.
        shows: Caption of the heat map.
    """
    side = 256
    pad, header, caption, bar = 12, 52, 26, 14
    width, height = 2 * side + 4 * pad + bar + 30, header + side + caption
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(18), ImageFont.load_default(13)

    draw.text((pad, 6), f"P(fake) = {p_fake:.3f}", fill=INK, font=large)
    draw.text((pad, 30), shortened(title, draw, small, width - 2 * pad), fill=INK, font=small)
    views = ((crop, "what the network saw"), (overlay(crop, heat), shows))
    for column, (pixels, label) in enumerate(views):
        left = pad + column * (side + pad)
        view = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(view, (left, header))
        draw.text((left, header + side + 5), label, fill=INK, font=small)

    left = 3 * pad + 2 * side
    ramp = colours(np.linspace(1.0, 0.0, side, dtype=np.float32))[:, None, :]
    sheet.paste(Image.fromarray(np.repeat(ramp, bar, axis=1)), (left, header))
    for value in (1.0, 0.5, 0.0):
        y = header + (1.0 - value) * (side - 1)
        draw.line((left + bar, y, left + bar + 3, y), fill=INK)
        draw.text((left + bar + 6, y), f"{value:g}", fill=INK, font=small, anchor="lm")
    return sheet


def shortened(
    text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float
) -> str:
    """Shorten text to one line of ASCII that fits into ``room`` pixels, by leaving out its middle."""
    # Pillow's built-in font has no other letters; a box in their place would look like damage.
    text = "".join(character if character.isascii() and character.isprintable() else "?" for character in text)
    if draw.textlength(text, font=font) <= room:
        return text
    keep = len(text)
    while keep > 2 and draw.textlength(_cut(text, keep), font=font) > room:
        keep -= 1
    return _cut(text, keep)


def _cut(text: str, keep: int) -> str:
    head = (keep + 1) // 2
    return f"{text[:head]}...{text[len(text) - (keep - head) :]}"

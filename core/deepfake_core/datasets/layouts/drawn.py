"""Faces drawn by a program: for tests, and for the dataset that needs no download."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter


def draw_face(seed: int = 0, side: int = 256) -> NDArray[np.uint8]:
    """Draw a face that the face finder finds.

    Args:
        seed: Seed for the colours and the noise. The same seed gives the same image.
        side: Height and width of the image in pixels.

    Returns:
        Image ``uint8 [side, side, 3]`` RGB.
    """
    random = np.random.default_rng(seed)
    unit = 4 * side / 100  # drawn four times as large, so that its edges are smooth
    sheet = Image.new("RGB", (4 * side, 4 * side), _colour(random.uniform(60, 200, 3)))
    draw = ImageDraw.Draw(sheet)
    tone = np.array([225.0, 175.0, 145.0]) * random.uniform(0.6, 1.05)
    skin, shade, dark, hair = (
        _colour(tone),
        _colour(tone * 0.85),
        _colour(tone * 0.55),
        _colour(random.uniform(15, 90, 3)),
    )

    def ellipse(x: float, y: float, width: float, height: float, fill: tuple[int, ...]) -> None:
        draw.ellipse([(x - width) * unit, (y - height) * unit, (x + width) * unit, (y + height) * unit], fill=fill)

    ellipse(50, 45, 31, 38, hair)
    draw.rectangle([40 * unit, 75 * unit, 60 * unit, 100 * unit], fill=shade)
    ellipse(50, 52, 25, 33, skin)
    for x in (39, 61):
        ellipse(x, 47, 7, 5, shade)
        ellipse(x, 47, 5, 2.6, (245, 245, 245))
        ellipse(x, 47, 2.4, 2.4, (50, 35, 25))
        brow = [(x - 7) * unit, 38 * unit, (x + 7) * unit, 46 * unit]
        draw.arc(brow, 200, 340, fill=hair, width=round(1.8 * unit))
    draw.polygon([(50 * unit, 46 * unit), (45.5 * unit, 61 * unit), (54.5 * unit, 61 * unit)], fill=shade)
    ellipse(47, 61, 1.2, 0.9, dark)
    ellipse(53, 61, 1.2, 0.9, dark)
    ellipse(50, 70, 8.5, 3.2, (170, 80, 80))
    draw.line([42 * unit, 70 * unit, 58 * unit, 70 * unit], fill=(90, 30, 30), width=round(0.7 * unit))
    picture = sheet.resize((side, side), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(1.2))
    noisy = np.asarray(picture) + random.normal(0, 3, (side, side, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _colour(values: NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = np.clip(values, 0, 255).astype(int).tolist()
    return red, green, blue

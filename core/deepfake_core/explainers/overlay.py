"""Draw a heat map over the crop that it explains, and the score on the scale of its model (Pillow only)."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Dark to light, so that it also reads in grey: purple, crimson, orange, pale yellow.
_STOPS = np.array([0.0, 0.35, 0.7, 1.0])
_COLOURS = np.array([(110, 0, 100), (200, 35, 75), (250, 140, 20), (255, 245, 160)], dtype=np.float64)
_STRENGTH, _LEAST, _EDGE = 0.6, 0.35, 0.2

INK, PAPER = (25, 25, 25), (255, 255, 255)
"""Colours of text and background."""
_SOFT = (105, 105, 105)
_ZONES = {"real": (150, 195, 225), "unsure": (225, 225, 225), "fake": (240, 165, 120)}
MARGIN = 14
"""Distance of everything from the edge, in pixels."""
_LINE, _SCALE = 19, 56
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def colours(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map a heat ``float32 [...]`` in [0, 1] to colours ``uint8 [..., 3]`` RGB."""
    channels = [np.interp(heat, _STOPS, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(crop: NDArray[np.uint8], heat: NDArray[np.float32], floor: float = 0.0) -> NDArray[np.uint8]:
    """Blend a heat map over its crop; where the heat is not above the floor, the crop shows unchanged.

    Args:
        crop: ``uint8 [H, W, 3]`` RGB.
        heat: ``float32 [H, W]`` in [0, 1].
        floor: Value in [0, 1) from which colours begin.

    Returns:
        ``uint8 [H, W, 3]`` RGB.

    Raises:
        ValueError: The two differ in height or width.
    """
    if crop.shape[:2] != heat.shape:
        raise ValueError(f"crop is {crop.shape[:2]}, heat map {heat.shape}")
    shown = np.clip((heat - floor) / (1.0 - floor), 0.0, 1.0)
    # Without a floor, faint heat is nearly transparent; above a floor, every place counts and is seen.
    least = np.minimum(_LEAST, shown / _EDGE) if floor else 0.0
    alpha = np.maximum(_STRENGTH * shown**0.75, least)[..., None]
    blended: NDArray[np.float64] = crop * (1.0 - alpha) + colours(shown) * alpha
    return blended.round().astype(np.uint8)


def panel(
    crop: NDArray[np.uint8],
    heat: NDArray[np.float32],
    *,
    p_fake: float | None,
    band: tuple[float, float] = (0.5, 0.5),
    title: str = "",
    sentence: str = "",
    shows: str = "where it looks manipulated",
    meaning: str = "",
    floor: float = 0.0,
) -> Image.Image:
    """Draw crop and overlay side by side, below the score on its scale, with a colour bar.

    Args:
        crop: ``uint8 [H, W, 3]`` RGB.
        heat: ``float32 [H, W]`` in [0, 1].
        p_fake: Score of the crop, in [0, 1]; ``None`` where it has none.
        band: P(fake) below which the verdict is ``real``, and from which it is ``fake``.
        title: Line of text at the bottom; shortened to fit.
        sentence: What the map shows.
        shows: Caption of the heat map.
        meaning: What a colour in the map means.
        floor: Value in [0, 1) up to which the map is drawn without colour.
    """
    side, gap, bar = 288, 12, 14
    page = Page(2 * side + gap + bar + 2 * MARGIN + 58, side + 22, band, p_fake, sentence, meaning, title)
    views = ((crop, "what the network saw"), (overlay(crop, heat, floor), shows))
    for column, (pixels, label) in enumerate(views):
        left = MARGIN + column * (side + gap)
        view = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
        page.image.paste(view, (left, page.top))
        page.draw.text((left, page.top + side + 4), label, fill=INK, font=page.small)
    left = MARGIN + 2 * side + gap + 10
    ramp = colours(np.linspace(1.0, 0.0, side, dtype=np.float32))[:, None, :]
    page.image.paste(Image.fromarray(np.repeat(ramp, bar, axis=1)), (left, page.top))
    page.draw.text((left + bar + 5, page.top), "strong", fill=INK, font=page.small)
    page.draw.text((left + bar + 5, page.top + side), "weak", fill=INK, font=page.small, anchor="ld")
    return page.image


class Page:
    """White page with the verdict, a sentence, the score on its scale, room for pictures, and notes below them.

    Args:
        width: Width of the page, in pixels.
        room: Height of the room for pictures, in pixels.
        band: P(fake) below which the verdict is ``real``, and from which it is ``fake``.
        p_fake: Score in [0, 1]; ``None`` where there is none.
        sentence: Sentence below the verdict.
        meaning: Sentence below the pictures.
        title: Last line; shortened to fit.

    Attributes:
        image: The page.
        draw: Draws on it.
        small: Font of captions.
        top: Upper end of the room for pictures, in pixels.
    """

    def __init__(
        self,
        width: int,
        room: int,
        band: tuple[float, float],
        p_fake: float | None,
        sentence: str,
        meaning: str,
        title: str,
    ) -> None:
        large, medium, self.small = (ImageFont.load_default(size) for size in (22, 15, 13))
        measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
        inner = width - 2 * MARGIN
        above, below = _wrapped(sentence, measure, medium, inner), _wrapped(meaning, measure, self.small, inner)
        self.top = 46 + _LINE * len(above) + _SCALE
        notes = self.top + room + 4
        self.image = Image.new("RGB", (width, notes + _LINE * (len(below) + 1) + 8), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        score = "no P(fake)" if p_fake is None else f"{verdict_of(p_fake, band)}: P(fake) = {p_fake:.1%}"
        self.draw.text((MARGIN, 10), score, fill=INK, font=large)
        for number, line in enumerate(above):
            self.draw.text((MARGIN, 42 + _LINE * number), line, fill=INK, font=medium)
        self._scale(self.top - _SCALE, inner, band, p_fake)
        for number, line in enumerate(below):
            self.draw.text((MARGIN, notes + _LINE * number), line, fill=INK, font=self.small)
        last = shortened(title, self.draw, self.small, inner)
        self.draw.text((MARGIN, notes + _LINE * len(below)), last, fill=_SOFT, font=self.small)

    def _scale(self, top: int, width: int, band: tuple[float, float], p_fake: float | None) -> None:
        """Draw P(fake) from 0 to 1 with the verdict of each part, and a mark at the score."""
        high, bar = 14, top + 14
        ends = {"real": (0.0, band[0]), "unsure": band, "fake": (band[1], 1.0)}
        for name, (start, end) in ends.items():
            left, right = MARGIN + start * width, MARGIN + end * width
            if left < right:
                self.draw.rectangle((left, bar, right, bar + high), fill=_ZONES[name])
            if self.draw.textlength(name, self.small) < right - left - 4:
                self.draw.text(((left + right) / 2, bar + 7), name, fill=INK, font=self.small, anchor="mm")
        marks = (("below ", band[0], "ra"), ("from ", band[1], "la")) if band[0] < band[1] else (("", band[0], "ma"),)
        inside = [value for _, value, _ in marks if 0.0 < value < 1.0]
        for word, value, anchor in marks:
            if 0.0 < value < 1.0:
                x = MARGIN + value * width
                self.draw.line((x, bar, x, bar + high + 3), fill=_SOFT)
                text = f"{word}{value:.1%}"
                long = self.draw.textlength(text, self.small) + 3
                x += {"ra": -3, "la": 3, "ma": 0}[anchor]
                x = min(max(x, MARGIN + long * (anchor == "ra")), MARGIN + width - long * (anchor == "la"))
                self.draw.text((x, bar + high + 4), text, fill=_SOFT, font=self.small, anchor=anchor)
        # The ends are named where there is room beside the marks.
        if min(inside, default=1.0) * width > 130:
            self.draw.text((MARGIN, bar + high + 4), "0%", fill=_SOFT, font=self.small)
        if (1.0 - max(inside, default=0.0)) * width > 130:
            self.draw.text((MARGIN + width, bar + high + 4), "100%", fill=_SOFT, font=self.small, anchor="ra")
        if p_fake is not None:
            x = MARGIN + p_fake * width
            self.draw.polygon([(x - 7, top + 2), (x + 7, top + 2), (x, bar - 1)], fill=INK)


def verdict_of(p_fake: float, band: tuple[float, float]) -> str:
    """Return the verdict for a score, where ``band`` says below which P(fake) it is real, and from which fake."""
    return "real" if p_fake < band[0] else "fake" if p_fake >= band[1] else "unsure"


def _wrapped(text: str, draw: ImageDraw.ImageDraw, font: _Font, room: float) -> list[str]:
    """Divide text into lines that fit into ``room`` pixels."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font=font) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def shortened(text: str, draw: ImageDraw.ImageDraw, font: _Font, room: float) -> str:
    """Shorten text to one line of ASCII that fits into ``room`` pixels, by leaving out its middle."""
    # Pillow's built-in font has no other letters; a box in their place would look like damage.
    text = "".join(character if character.isascii() and character.isprintable() else "?" for character in text)
    if draw.textlength(text, font=font) <= room:
        return text
    lengths = range(2, len(text))
    fitting = bisect_right(lengths, room, key=lambda keep: draw.textlength(_cut(text, keep), font=font))
    return _cut(text, 1 + max(fitting, 1))


def _cut(text: str, keep: int) -> str:
    head = (keep + 1) // 2
    return f"{text[:head]}...{text[len(text) - (keep - head) :]}"

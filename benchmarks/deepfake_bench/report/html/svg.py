"""Diagrams as inline SVG, light enough for every report: lines, steps and points with intervals on two axes.

Colours are classes (``s0`` to ``s7``) that a page's style gives a light and a dark value; text is text, in the page's
own font. A diagram carries no identifiers, so a page may hold any number of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import NormalDist

from deepfake_bench.printable import printable

WIDTH, HEIGHT = 380.0, 330.0
"""Size of a diagram in units of its view box."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 12.0, 46.0
COLOURS = 8
_MARKERS = 4
_LEAST_RATE = 1e-3
_LETTER, _GAP = 5.6, 1.5
"""Width of a letter under an axis, about, and what is left between two names."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a diagram.

    Attributes:
        label: Text under or beside the axis.
        low: Value at the beginning.
        high: Value at the end.
        ticks: Value and text of each mark.
        scale: Function whose values are spread evenly: the identity, the logarithm, or the normal deviate.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    scale: Callable[[float], float] = float

    def share(self, value: float) -> float:
        """Return where a value lies, from 0 to 1; values outside are brought to the nearer end."""
        start, end = self.scale(self.low), self.scale(self.high)
        inside = min(max(value, self.low), self.high)
        return (self.scale(inside) - start) / (end - start)


@dataclass(frozen=True, slots=True)
class Series:
    """One line or cloud of points.

    Attributes:
        label: Text in the legend.
        points: x and y of each point.
        intervals: Lower and upper y of each point; empty for none.
        line: Whether the points are joined.
        marks: Whether the points are marked.
        colour: Place among the colours; lines from 8 on are dashed.
        guide: Whether it is drawn thin and grey and left out of the legend.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    intervals: tuple[tuple[float, float], ...] = ()
    line: bool = True
    marks: bool = False
    colour: int = 0
    guide: bool = False


def text_of(raw: str) -> str:
    """Return any text as HTML that shows it and does nothing else."""
    return escape(printable(raw))


def linear(label: str, low: float, high: float, form: str = "") -> Axis:
    """Return an axis with about five round marks.

    Args:
        label: Text beside the axis.
        low: Value at the beginning.
        high: Value at the end, above ``low``.
        form: Format of the marks; by default they have as many digits as they need.
    """
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (step * factor) <= 5.5)
    first = math.ceil(low / step - 1e-9)
    values = [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(label, low, high, tuple((value, format(round(value, 10), form or "g")) for value in values))


def logarithmic(label: str, low: float, high: float) -> Axis:
    """Return a logarithmic axis that begins and ends at 1, 2 or 5 times a power of ten.

    Both ``low`` and ``high`` are above 0.
    """
    rounds = [factor * 10.0**power for power in range(-4, 9) for factor in (1, 2, 5)]
    start = max((value for value in rounds if value <= low * 0.95), default=rounds[0])
    end = min((value for value in rounds if value >= high * 1.05), default=rounds[-1])
    ticks = [value for value in rounds if start <= value <= end]
    if len(ticks) > 8:
        ticks = [value for value in ticks if f"{value:e}"[0] == "1"]
    return Axis(label, start, end, tuple((value, _rounded(value)) for value in ticks), math.log10)


def _rounded(value: float) -> str:
    """Return a round number without an exponent: ``200k`` and ``5M`` for large ones."""
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e5 else f"{value:g}"


def normal_deviates(label: str) -> Axis:
    """Return the axis of a DET diagram: rates from 0.1 % to 99.9 % by their normal deviate (Martin et al. 1997)."""
    rates = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
    ticks = tuple((rate, f"{rate * 100:g}") for rate in rates)
    return Axis(label, _LEAST_RATE, 1 - _LEAST_RATE, ticks, NormalDist().inv_cdf)


def named(label: str, names: Sequence[str]) -> Axis:
    """Return an axis of names, evenly spread; the first lies at 0, the next at 1."""
    return Axis(label, -0.5, len(names) - 0.5, tuple((float(place), name) for place, name in enumerate(names)))


def has_room(names: Sequence[str]) -> bool:
    """Return whether the names of a :func:`named` axis, of one or more lines each, stand beside each other."""
    widest = max((len(line) for name in names for line in name.split("\n")), default=0)
    return len(names) * (widest * _LETTER + _GAP) <= WIDTH - _LEFT - _RIGHT


def diagram(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Return a ``<figure>`` with the diagram and its legend; every text is escaped."""
    parts = [*_frame(x, y), *(_drawn(item, x, y) for item in series)]
    legend = "".join(
        f'<li class="s{item.colour % COLOURS}"><svg viewBox="0 0 24 12" aria-hidden="true">{_sample(item)}</svg>'
        f"{text_of(item.label)}</li>"
        for item in series
        if not item.guide
    )
    return (
        f'<figure><figcaption>{text_of(title)}</figcaption><svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{text_of(title)}">{"".join(parts)}</svg><ul class="legend">{legend}</ul></figure>'
    )


def _across(x: Axis, value: float) -> float:
    return _LEFT + x.share(value) * (WIDTH - _LEFT - _RIGHT)


def _down(y: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - y.share(value) * (HEIGHT - _TOP - _BOTTOM)


def _frame(x: Axis, y: Axis) -> list[str]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for value, text in x.ticks:
        at = _across(x, value)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP:g}" y2="{bottom:g}"/>')
        parts += [
            f'<text class="x" x="{at:.1f}" y="{bottom + 15 + 12 * line:.1f}">{text_of(words)}</text>'
            for line, words in enumerate(text.split("\n"))
        ]
    for value, text in y.ticks:
        at = _down(y, value)
        parts.append(f'<line class="grid" x1="{_LEFT:g}" x2="{right:g}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 6:g}" y="{at + 4:.1f}">{text_of(text)}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(f'<text class="x" x="{(_LEFT + right) / 2:g}" y="{HEIGHT - 4:g}">{text_of(x.label)}</text>')
    parts.append(f'<text class="x" transform="translate(13 {middle:g}) rotate(-90)">{text_of(y.label)}</text>')
    return parts


def _drawn(item: Series, x: Axis, y: Axis) -> str:
    places = [(_across(x, left), _down(y, up)) for left, up in item.points]
    parts = []
    if item.line:
        line = " ".join(f"{left:.1f},{down:.1f}" for left, down in places)
        parts.append(f'<polyline class="{_stroke(item)}" points="{line}"/>')
    for (left, _), (low, high) in zip(places, item.intervals, strict=False):
        parts.append(
            f'<line class="line" x1="{left:.1f}" x2="{left:.1f}" y1="{_down(y, low):.1f}" y2="{_down(y, high):.1f}"/>'
        )
    if item.marks:
        parts += [_marker(item.colour, left, down) for left, down in places]
    return f'<g class="s{item.colour % COLOURS}">{"".join(parts)}</g>'


def _stroke(item: Series) -> str:
    return "guide" if item.guide else "line dashed" if item.colour >= COLOURS else "line"


def _marker(colour: int, left: float, down: float) -> str:
    """Return a mark; besides colours, shapes differ: circle, square, diamond, triangle."""
    kind = colour % _MARKERS
    if kind == 0:
        return f'<circle class="mark" cx="{left:.1f}" cy="{down:.1f}" r="3.6"/>'
    corners = {
        1: ((-3.3, -3.3), (3.3, -3.3), (3.3, 3.3), (-3.3, 3.3)),
        2: ((0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)),
        3: ((0, -4.4), (4.2, 3.4), (-4.2, 3.4)),
    }[kind]
    line = " ".join(f"{left + right:.1f},{down + below:.1f}" for right, below in corners)
    return f'<polygon class="mark" points="{line}"/>'


def _sample(item: Series) -> str:
    line = f'<line class="{_stroke(item)}" x1="1" x2="23" y1="6" y2="6"/>' if item.line else ""
    return line + (_marker(item.colour, 12, 6) if item.marks else "")

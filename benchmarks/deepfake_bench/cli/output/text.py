"""Tables and sizes for the terminal, without the time that importing Rich takes."""

from __future__ import annotations

import re
import shutil
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, zip_longest
from typing import Any, NamedTuple

import typer

from deepfake_bench.printable import printable

WIDTH = 100
"""Columns of a table that goes to a file or a pipe, where the environment variable ``COLUMNS`` does not say more."""
GIVE_WAY = (
    "box",
    "beside",
    "random",
    "from",
    "scenario",
    "method",
    "level",
    "unscored",
    "Brier",
    "ECE",
    "AP",
    "TPR at 1 % FPR",
    "balanced accuracy",
    "measured on",
    "threads",
    "reports",
    "signatures",
    "step",
    "size",
    "peak MB",
    "inputs",
    "mean Δp",
    "spread",
    "frames",
    "faces",
    "× torch eager",
    "p99",
    "p90",
    "device",
    "EER",
    "TPR at 5 % FPR",
    "error",
    "no face",
    "changed",
    "version",
    "backend",
    "documented",
    "before",
    "after",
)
"""Headings of the columns that give way where a table is too wide, the first one first. All other columns stay."""
PROSE = ("measurement", "figure", "weights", "summary", "reason", "note", "documented", "phases", "changes", "purpose")
"""Headings of the columns whose cells are sentences, which may go on in the next line. Names never do."""
ELSEWHERE = "--format json"
"""What shows all columns in most commands."""
_GAP = 2
_NUMBER = re.compile(r"(?:[-+<]?\d[\d.,]*(?:e[-+]?\d+)?(?: ?(?:%|[kMG]B))?(?: \[[^\]]*\])?|\d[\d,]*/\d[\d,]*|–)")

Rows = Sequence[Sequence[str]]
Styles = Mapping[str, Mapping[str, Any]]
"""Text of a cell → the arguments of ``typer.style``."""


class Fitted(NamedTuple):
    """A table as text.

    Attributes:
        text: Lines of the table; one is wider than asked only where a single name is.
        left_out: Headings of the columns that gave way.
        needed: Width in columns of a terminal in which none gives way.
    """

    text: str
    left_out: tuple[str, ...]
    needed: int


def columns(rows: Rows, *, styles: Styles | None = None, elsewhere: str = "") -> str:
    """Return rows, the first of which is the header, as a table that fits the terminal.

    Where columns gave way, the last line names them and says how to see them.

    Args:
        rows: Cells of each row; each is made printable.
        styles: Text of a cell → its style.
        elsewhere: What shows all columns besides a wider terminal, such as ``--format json``.
    """
    fitted = fit(rows, terminal_width(), styles or {})
    return "\n".join(filter(None, (fitted.text, note(fitted.left_out, fitted.needed, elsewhere))))


def note(headings: Iterable[str], needed: int, elsewhere: str = "") -> str:
    """Return the line that names the columns that gave way; empty where none did.

    Args:
        headings: Headings of these columns.
        needed: Width in columns of a terminal that shows them.
        elsewhere: What shows them besides, such as ``--format json``.
    """
    if not (said := ", ".join(headings)):
        return ""
    also = f", or {elsewhere}" if elsewhere else ""
    line = f"Columns without room: {said}. All are shown by a terminal of {needed} columns (COLUMNS={needed}){also}."
    return "\n".join(typer.style(part, dim=True) for part in wrapped(line, terminal_width()))


def fit(rows: Rows, width: int, styles: Styles) -> Fitted:
    """Return a table that is at most ``width`` wide, as far as its names allow.

    Columns of :data:`GIVE_WAY` are left out in that order until the others fit. Where even those do not, each row
    becomes a paragraph: its first cell, and below it the other cells with their headings.

    Args:
        rows: Header and rows; the headings differ from each other.
        width: Width in columns.
        styles: Text of a cell → its style.
    """
    found = [_Column(cells) for cells in zip(*rows, strict=True)]
    needed = next(most for most in count(width) if _least(found, most) <= most)
    kept, left_out = found, []
    for heading in GIVE_WAY:
        if _least(kept, width) <= width:
            break
        if any(column.heading == heading for column in kept[1:]):
            kept = [column for column in kept if column.heading != heading]
            left_out.append(heading)
    if _least(kept, width) > width:
        return Fitted(_paragraphs(found, width), (), needed)
    return Fitted(_table(kept, width, styles), tuple(left_out), needed)


def fits(rows: Rows, width: int) -> bool:
    """Return whether a table has room for all of its columns."""
    return _least([_Column(cells) for cells in zip(*rows, strict=True)], width) <= width


def wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text, which is broken at spaces only; at least one."""
    return textwrap.wrap(text, max(1, width), break_long_words=False, break_on_hyphens=False) or [""]


def end_of(text: str, width: int) -> str:
    """Return the end of a text that is wider than ``width`` columns, after an ellipsis; else the text."""
    if _cells(text) <= width:
        return text
    end = text[-width:]
    while _cells(end) >= width:
        end = end[1:]
    return f"…{end}"


def pairs(rows: Rows) -> str:
    """Return names and values as two columns; a value that has no room goes on below, after one of its spaces."""
    first = max((_cells(printable(name)) for name, _ in rows), default=0) + _GAP
    lines = []
    for name, value in rows:
        head, *rest = wrapped(printable(value), terminal_width() - first)
        lines.append(f"{printable(name)}{' ' * (first - _cells(printable(name)))}{head}".rstrip())
        lines += [" " * first + line for line in rest]
    return "\n".join(lines)


def terminal_width() -> int:
    """Return the columns of the terminal; :data:`WIDTH` where standard output is none."""
    return max(20, shutil.get_terminal_size((WIDTH, 40)).columns)


def size_text(size: int) -> str:
    """``1.5 GB``, ``7.2 MB`` or ``0.3 kB`` for a size in bytes."""
    for unit, many in (("GB", 1e9), ("MB", 1e6)):
        if size >= many:
            return f"{size / many:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


class _Column:
    """Cells of one column below their heading."""

    def __init__(self, cells: Sequence[str]) -> None:
        self.heading, *self.cells = map(printable, cells)
        self.widest = max(map(_cells, self.cells), default=0)
        self.is_prose = self.heading in PROSE
        texts = (self.heading, *(self.cells if self.is_prose else ()))
        self.longest_word = max(_cells(word) for text in texts for word in text.split(" "))
        self.is_number = self.widest > 0 and all(not cell or _NUMBER.fullmatch(cell) for cell in self.cells)

    def least(self, width: int) -> int:
        """Return the smallest width of the column in a table that is ``width`` wide; headings may take some lines."""
        return max(self.longest_word, min(self.widest, width // 4) if self.is_prose else self.widest)

    def lines(self, width: int, styles: Styles) -> list[list[str]]:
        """Return the lines of the heading and of each cell, all ``width`` wide."""
        made = []
        for place, cell in enumerate((self.heading, *self.cells)):
            style = styles.get(cell, {}) if place else {"bold": True}
            parts = wrapped(cell, width) if self.is_prose or not place else [cell]
            spaces = (" " * (width - _cells(part)) for part in parts)
            styled = (typer.style(part, **style) if style else part for part in parts)
            made.append(
                [space + part if self.is_number else part + space for space, part in zip(spaces, styled, strict=True)]
            )
        return made


def _least(found: Sequence[_Column], width: int) -> int:
    return sum(column.least(width) for column in found) + _GAP * (len(found) - 1)


def _table(found: Sequence[_Column], width: int, styles: Styles) -> str:
    """Return columns beside each other; room that is left goes to headings, then to sentences, the last ones first."""
    widths = [column.least(width) for column in found]
    spare = width - _least(found, width)
    for wanted in ([_cells(column.heading) for column in found], [column.widest for column in found]):
        for place, most in reversed(list(enumerate(wanted))):
            more = max(0, min(spare, most - widths[place]))
            widths[place] += more
            spare -= more
    blocks = [column.lines(own, styles) for column, own in zip(found, widths, strict=True)]
    lines = []
    for cells in zip(*blocks, strict=True):
        for parts in zip_longest(*cells):
            shown = (" " * own if part is None else part for part, own in zip(parts, widths, strict=True))
            lines.append((" " * _GAP).join(shown).rstrip())
    return "\n".join(lines)


def _paragraphs(found: Sequence[_Column], width: int) -> str:
    lines = []
    for first, *others in zip(*(column.cells for column in found), strict=True):
        lines.append(f"{found[0].heading} {first or '–'}" if found[0].is_number else first)
        line = ""
        for column, cell in zip(found[1:], others, strict=True):
            for part in wrapped(f"{column.heading}: {cell}", width - _GAP) if cell else ():
                if line and _cells(line) + _GAP + _cells(part) > width - _GAP:
                    lines.append(" " * _GAP + line)
                    line = ""
                line += " " * _GAP * bool(line) + part
        lines += [" " * _GAP + line] if line else []
    return "\n".join(lines)


def _cells(text: str) -> int:
    """Return the width of a text in a terminal, where Chinese, Japanese and Korean letters take two columns."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else not unicodedata.combining(char) for char in text)

"""Plain text for the terminal, without the time that importing Rich takes."""

from __future__ import annotations


def columns(rows: list[tuple[str, ...]]) -> str:
    """Return rows as lines of aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)

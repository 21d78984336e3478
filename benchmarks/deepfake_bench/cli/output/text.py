"""Plain text for the terminal."""

from __future__ import annotations


def columns(rows: list[tuple[str, ...]]) -> str:
    """Rows as aligned columns, the last one ragged; light enough for a command that must start at once."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)

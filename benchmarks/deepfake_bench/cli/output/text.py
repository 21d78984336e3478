"""Plain text for the terminal, without the time that importing Rich takes."""

from __future__ import annotations


def columns(rows: list[tuple[str, ...]]) -> str:
    """Return rows as lines of aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def size_text(size: int) -> str:
    """``1.5 GB``, ``7.2 MB`` or ``0.3 kB`` for a size in bytes."""
    for unit, many in (("GB", 1e9), ("MB", 1e6)):
        if size >= many:
            return f"{size / many:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"

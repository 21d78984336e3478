"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a Markdown table.

    Args:
        header: Headings of the columns.
        rows: Cells of each row.
        numbers: Places of the columns that are aligned to the right.
    """
    right = set(numbers)
    rule = ("---:" if place in right else "---" for place in range(len(header)))
    lines = (header, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

"""The frame of a page and its tables: no script, no font, no image is fetched, and the page opens from disk.

The page's own policy lets a browser load and run nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deepfake_bench.report.html.style import STYLE
from deepfake_bench.report.html.svg import text_of

_FEW = 6
"""Most columns that a screen of 45 rem has room for."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def shell(title: str, body: str) -> str:
    """Return a whole page around ``body``, which is HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{text_of(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{text_of(title)}</h1>
{body}
</body>
</html>
"""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()) -> str:
    """Return a table of cells that are HTML already. On a narrow screen each row becomes a block of lines.

    Args:
        columns: Headings, as text.
        rows: Cells of each row, as HTML.
        numbers: Places of the columns that are aligned to the right.
    """
    right = set(numbers)
    kinds = [' class="number"' if place in right else "" for place in range(len(columns))]
    named = [f' data-is="{text_of(name)}"' if name and place else "" for place, name in enumerate(columns)]
    head = "".join(f"<th{kind}>{text_of(name)}</th>" for kind, name in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}{is_}>{cell}</td>" for kind, is_, cell in zip(kinds, named, row, strict=True))
        + "</tr>"
        for row in rows
    )
    kind = "pairs" if len(columns) == 2 else "wide" if len(columns) > _FEW else "few"
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'

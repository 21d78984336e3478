"""A registry's index as a static page, ``index.html`` beside ``index.json``; it fetches nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from html import escape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from deepfake_registry.files import write_atomic
from deepfake_registry.store.index import Entry, Index

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .8rem .4rem 0;vertical-align:top;"
    "border-bottom:1px solid #8884}code{font-size:.85em;overflow-wrap:anywhere}:root{color-scheme:light dark}"
)
_COLUMNS = ("model", "aliases", "weights", "files", "licence", "signatures", "reports", "sha256 of the manifest")


def write_index(index: Index, folder: Path) -> tuple[Path, Path]:
    """Write ``index.json`` and ``index.html`` into a folder, each whole or not at all."""
    data, page = folder / "index.json", folder / "index.html"
    write_atomic(data, index.model_dump_json(indent=2) + "\n")
    write_atomic(page, html(index))
    return data, page


def html(index: Index) -> str:
    """Return the page; all that comes from the registry is escaped."""
    rows = "\n".join(_row(_cells(entry)) for entry in index.models)
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in index.problems)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Models</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Models</h1>
<p>{len(index.models)} versions. The same as data: <a href="index.json">index.json</a>.</p>
{f"<ul>{problems}</ul>" if problems else ""}
<table>
<thead>{_row(_COLUMNS, "th")}</thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def serve(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server of one folder's files that is bound and not yet running.

    Args:
        folder: Folder of the files.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Raises:
        OSError: The address is in use, or is not one of this machine.
    """
    return ThreadingHTTPServer((host, port), partial(_Quiet, directory=str(folder)))


class _Quiet(SimpleHTTPRequestHandler):
    """Handler that serves files and prints no line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        del format, args


def _cells(entry: Entry) -> list[str]:
    files = "<br>".join(
        f"{escape(format)}, {file.size_bytes / 1e6:.1f} MB" for format, file in sorted(entry.files.items())
    )
    return [
        f"<b>{escape(entry.name)}@{escape(entry.version)}</b><br>{escape(entry.summary)}",
        escape(", ".join(entry.aliases)),
        escape(entry.weights),
        files,
        escape(entry.license),
        str(entry.signatures or ""),
        str(len(entry.reports) or ""),
        f"<code>{escape(entry.manifest_sha256)}</code>",
    ]


def _row(cells: Iterable[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

"""A registry's index as a static page, ``index.html`` beside ``index.json``; it fetches nothing from elsewhere."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from deepfake_bench.report.html.layout import shell, table
from deepfake_bench.report.html.svg import text_of
from deepfake_registry.files import write_atomic
from deepfake_registry.store.index import Entry, Index

_COLUMNS = ("model", "aliases", "weights", "files", "licence", "signatures", "reports", "sha256 of the manifest")


def write_index(index: Index, folder: Path) -> tuple[Path, Path]:
    """Write ``index.json`` and ``index.html`` into a folder, each whole or not at all."""
    data, page = folder / "index.json", folder / "index.html"
    write_atomic(data, index.model_dump_json(indent=2) + "\n")
    write_atomic(page, html(index))
    return data, page


def html(index: Index) -> str:
    """Return the page; all that comes from the registry is escaped."""
    problems = "".join(f"<li>{text_of(problem)}</li>" for problem in index.problems)
    count = len(index.models)
    intro = f'<p>{count} version{"s" if count != 1 else ""}. The same as data: <a href="index.json">index.json</a>.</p>'
    return shell("Models", f"{intro}{problems and f'<ul>{problems}</ul>'}{table(_COLUMNS, map(_cells, index.models))}")


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
        f"{text_of(format)}, {file.size_bytes / 1e6:.1f} MB" for format, file in sorted(entry.files.items())
    )
    return [
        f"<b>{text_of(entry.name)}@{text_of(entry.version)}</b><br>{text_of(entry.summary)}",
        text_of(", ".join(entry.aliases)),
        text_of(entry.weights),
        files,
        text_of(entry.license),
        str(entry.signatures or ""),
        str(len(entry.reports) or ""),
        f"<code>{text_of(entry.manifest_sha256)}</code>",
    ]

"""``dfbench list``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deepfake_bench.cli.text import columns, printable


def list_detectors(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the installed detectors, and the plugins that failed to load with the reason."""
    from deepfake_core import plugins

    detectors = [
        {
            "name": name,
            "weights": _weights_status(entry.spec.weights),
            "kind": entry.spec.kind,
            "distribution": entry.distribution,
            "version": entry.version,
            "summary": entry.spec.summary,
        }
        for name, entry in plugins.detectors().items()
    ]
    failed = [
        {"name": failure.name, "distribution": failure.distribution, "reason": failure.reason}
        for failure in plugins.failures()
    ]
    if as_json:
        typer.echo(json.dumps({"detectors": detectors, "failed": failed}, indent=2))
        return
    if detectors:
        head = ("detector", "weights", "from", "summary")
        rows = [(d["name"], d["weights"], f"{d['distribution']} {d['version']}", d["summary"]) for d in detectors]
        typer.echo(columns([head, *(tuple(map(printable, row)) for row in rows)]))
    else:
        typer.echo("no detector is installed; run: pip install deepfake-lite", err=True)
    for failure in failed:
        typer.echo(f"failed: {printable(failure['name'])} ({failure['distribution']}): {printable(failure['reason'])}")


def _weights_status(weights: str | None) -> str:
    """``trained``, ``pretrained`` or ``untrained`` as packaged; ``none`` or ``missing`` otherwise.

    The manifest is read as plain JSON, and not verified: that would take longer than listing may.
    """
    if weights is None:
        return "none"
    from importlib.util import find_spec
    from pathlib import Path

    package, _, folder = weights.partition(":")
    found = find_spec(package)
    for root in (found.submodule_search_locations or ()) if found else ():
        manifest = Path(root, folder, "manifest.json")
        if manifest.is_file():
            try:
                return str(json.loads(manifest.read_bytes())["weights"])
            except (ValueError, KeyError, TypeError):
                return "damaged"
    return "missing"

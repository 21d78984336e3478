"""The option ``--json FILE``: the results of a command in full, for other programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Also write the results to this file as JSON; - writes them to standard output, and everything else to "
        "standard error.",
    ),
]


def is_stdout(file: Path | None) -> bool:
    """Whether ``--json -`` was given, so that standard output belongs to the JSON text alone."""
    return file == Path("-")


def echo_beside(file: Path | None) -> Callable[[str], None]:
    """Return the function that prints lines for humans: to standard error where the JSON text takes standard output."""
    return partial(typer.echo, err=is_stdout(file))


def write_json(file: Path | None, content: Any) -> None:
    """Write ``content`` as JSON to standard output or to the file, which appears whole; without a file, do nothing."""
    if file is None:
        return
    text = json.dumps(content, indent=2)
    if is_stdout(file):
        typer.echo(text)
        return
    from deepfake_registry.files import write_atomic

    write_atomic(file, text + "\n")

"""Arguments and texts that the commands of ``dfbench runs`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Runs = Annotated[Path, typer.Argument(metavar="RUNS", help="Folder that holds the runs.")]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of one run; dfbench runs list shows them.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", help="Make the changes; without this option they are only listed.")]


def name_of(folder: Path, runs: Path) -> str:
    """Return the name of a run: its path below the folder of the runs."""
    return folder.relative_to(runs).as_posix() if folder != runs else folder.resolve().name


def number_text(value: Any) -> str:
    """``0.9012`` for a fraction, ``3`` for a whole number, ``-`` for ``None``."""
    if isinstance(value, float):
        return f"{value:g}" if value.is_integer() else f"{value:.4f}"
    return "-" if value is None else str(value)

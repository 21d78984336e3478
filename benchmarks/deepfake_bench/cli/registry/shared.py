"""Arguments and tables that the commands of ``dfbench registry`` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.output.text import ELSEWHERE, columns

Reference = Annotated[
    str,
    typer.Argument(
        metavar="NAME@VERSION|NAME@ALIAS",
        autocompletion=completion.models,
        help="Published model, see dfbench registry ls.",
        show_default=False,
    ),
]


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows, the first of which is the header, as a table."""
    typer.echo(columns(rows, elsewhere=ELSEWHERE))

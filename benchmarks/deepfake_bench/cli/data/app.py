"""``dfbench data``: the group of commands that work on any dataset."""

from __future__ import annotations

import logging

import typer

from deepfake_bench.cli.data import check, manifest, prepare, split, stats

app = typer.Typer(
    name="data",
    help="Check, describe, split, measure and prepare datasets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def options() -> None:
    """Check, describe, split, measure and prepare datasets."""
    logging.basicConfig(format="%(message)s")


app.command("check")(check.check)
app.command("manifest")(manifest.manifest)
app.command("split")(split.split)
app.command("stats")(stats.stats)
app.command("prepare")(prepare.prepare)

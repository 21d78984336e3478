"""``dfbench runs``: the group of commands that work on training runs."""

from __future__ import annotations

import typer

from deepfake_bench.cli.runs import compare, overview, upkeep

app = typer.Typer(
    name="runs", help="List, compare, clean up and archive training runs.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def options() -> None:
    """List, compare, clean up and archive training runs."""


app.command("list")(overview.list_runs)
app.command("show")(overview.show)
app.command("compare")(compare.compare)
app.command("prune")(upkeep.prune)
app.command("archive")(upkeep.archive)
app.command("clean")(upkeep.clean)
app.command("record")(upkeep.record)

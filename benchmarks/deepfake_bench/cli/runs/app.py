"""``dfbench runs``: the group of commands that work on training runs."""

from __future__ import annotations

from deepfake_bench.cli.commands import App
from deepfake_bench.cli.runs import compare, overview, upkeep

app = App("runs")


@app.callback()
def options() -> None:
    """List, compare, clean up and archive training runs.

    Examples:
        dfbench runs list
        dfbench runs show runs/mine
    """


app.command("list")(overview.list_runs)
app.command("show")(overview.show)
app.command("compare")(compare.compare)
app.command("prune")(upkeep.prune)
app.command("archive")(upkeep.archive)
app.command("clean")(upkeep.clean)
app.command("record")(upkeep.record)

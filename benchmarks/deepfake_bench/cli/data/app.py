"""``dfbench data``: the group of commands that work on any dataset."""

from __future__ import annotations

import logging

from deepfake_bench.cli.commands import App
from deepfake_bench.cli.data import check, manifest, pack, prepare, shortcuts, split, stats

app = App("data")


@app.callback()
def options() -> None:
    """Check, describe, split, measure, prepare and pack datasets.

    Examples:
        dfbench data check my-pictures/
        dfbench data split my-pictures/ --out splits.csv
    """
    logging.basicConfig(format="%(message)s")


app.command("check")(check.check)
app.command("manifest")(manifest.manifest)
app.command("split")(split.split)
app.command("stats")(stats.stats)
app.command("shortcuts")(shortcuts.shortcuts)
app.command("prepare")(prepare.prepare)
app.command("pack")(pack.pack)

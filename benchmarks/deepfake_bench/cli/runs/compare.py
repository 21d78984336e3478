"""``dfbench runs compare``: metrics and settings of several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deepfake_bench.cli.output.text import columns
from deepfake_bench.cli.runs.shared import number_text


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Folders of runs; dfbench runs list shows them.", show_default=False),
    ],
) -> None:
    """Compare the metrics and the settings of several runs.

    Only settings in which they differ are shown.

    Examples:
        dfbench runs compare runs/mine runs/other
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.recipes.settings import flat
    from deepfake_core.training.runs.entries import entry_of
    from deepfake_core.training.runs.files import read_history, read_json
    from deepfake_core.training.runs.stored import read_config

    if len(runs) < 2:
        raise DeepfakeError("runs compare: name two runs or more")
    entries = [entry_of(run) for run in runs]
    measured: list[dict[str, Any]] = []
    for run, entry in zip(runs, entries, strict=True):
        history = read_history(run)
        values: dict[str, Any] = {
            f"best {entry.monitor}": entry.value,
            "steps": history[-1].get("step") if history else 0,
        }
        values |= {
            f"test {key}": value for key, value in (read_json(run / "metrics.json").get("test_metrics") or {}).items()
        }
        measured.append(values)
    settings = [flat(read_config(run)) for run in runs]
    rows = [("metric or setting", *(entry.run for entry in entries))]
    names = dict.fromkeys(name for values in measured for name in values)
    rows += [(name, *(number_text(values.get(name)) for values in measured)) for name in names]
    for name in dict.fromkeys(name for values in settings for name in values):
        found = [values.get(name) for values in settings]
        if any(value != found[0] for value in found):
            rows.append((name, *map(str, found)))
    typer.echo(columns(rows))
    if len({entry.fingerprint for entry in entries}) > 1:
        typer.echo("The runs were validated on different samples: their best values cannot be compared.", err=True)

"""``dfbench runs list`` and ``show``: what a folder of runs holds, and what one run left."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.output.options import Format, Output
from deepfake_bench.cli.output.text import ELSEWHERE, columns, pairs, size_text
from deepfake_bench.cli.runs.shared import Run, Runs, name_of, number_text
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_core.training.runs.listing import RunInfo
    from deepfake_core.training.runs.record import Record


def list_runs(
    runs: Runs = Path("runs"),
    output: Output = Format.table,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; the same as --format json.")] = False,
) -> None:
    """List the runs in a folder.

    Each is shown with its best metric, its status and its size; an asterisk marks promoted runs.

    Examples:
        dfbench runs list
        dfbench runs list experiments/ --format json
    """
    from deepfake_core.training.runs.listing import describe, find_runs

    found = [describe(folder) for folder in find_runs(runs)]
    if as_json or output is Format.json:
        typer.echo(json.dumps([_as_json(run, runs) for run in found], indent=2))
        return
    if not found:
        typer.echo(f"{runs}: no runs", err=True)
        return
    parents = {run.folder.resolve().parent for run in found}
    promoted = {parent / entry.run for parent in parents for entry in _record(parent).best.values()}
    head = ("run", "detector", "status", "best", "step", "size", "changed")
    rows = [
        (
            f"{'*' if run.folder.resolve() in promoted else ' '} {name_of(run.folder, runs)}",
            run.entry.detector if run.entry else "",
            run.status,
            _best(run),
            str(run.step or ""),
            size_text(run.size_bytes),
            _when(run.changed),
        )
        for run in found
    ]
    typer.echo(columns([head, *rows], elsewhere=ELSEWHERE))
    for run in found:
        if run.reason:
            typer.echo(f"damaged: {printable(run.reason)}", err=True)
    total = sum(run.size_bytes for run in found)
    typer.echo(f"{len(found)} runs, {size_text(total)}; {size_text(shutil.disk_usage(runs).free)} free on the disk")


def show(run: Run) -> None:
    """Show the settings, the results and the files of one run.

    Examples:
        dfbench runs show runs/mine
    """
    from deepfake_core.training.leave_out.results import read_source
    from deepfake_core.training.recipes.settings import flat
    from deepfake_core.training.runs.entries import advice_of
    from deepfake_core.training.runs.files import read_json
    from deepfake_core.training.runs.listing import FILES, describe
    from deepfake_core.training.runs.rundir import SHORTCUTS
    from deepfake_core.training.runs.stored import read_config

    settings = flat(read_config(run))
    described = describe(run)
    typer.echo(f"{printable(str(run))}: {described.status}, best {_best(described) or '-'}, step {described.step}")
    if described.reason:
        typer.echo(f"damaged: {printable(described.reason)}", err=True)
    written = read_json(run / "metrics.json")
    if taken := written.get("training"):
        typer.echo("training: " + _taken(taken))
    if (left_out := read_source(run)) is not None:
        typer.echo(printable(f"left out: {left_out.in_words}"))
    if test := written.get("test_metrics"):
        typer.echo("test: " + ", ".join(f"{key} {number_text(value)}" for key, value in test.items()))
    if described.entry is not None:
        for said in advice_of(run):
            typer.echo(printable(said))
    if (run / SHORTCUTS).exists():
        typer.echo("\n" + columns(_shortcuts(read_json(run / SHORTCUTS))))
    typer.echo("\n" + pairs([(key, str(value)) for key, value in settings.items()]))
    rows = [("file", "size", "purpose")]
    for name, purpose in FILES.items():
        path = run / name
        if path.exists():
            inner = path.rglob("*") if name.endswith("/") else [path]
            rows.append((name, size_text(sum(file.stat().st_size for file in inner if file.is_file())), purpose))
    typer.echo("\n" + columns(rows))


def _shortcuts(content: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of a table: the strongest shortcut of each source, and all together, in the data and as drawn."""
    from deepfake_core.data.audit.result import ALL, Shortcuts

    data, drawn = (
        {one.source: one for one in Shortcuts.from_dict(content[name]).sources} if content.get(name) else {}
        for name in ("data", "drawn")
    )
    rows: list[tuple[str, ...]] = [("shortcuts (AUC)", "of the data", "together", "as drawn", "together")]
    for source in sorted({**data, **drawn}, key=lambda name: (name == ALL, name)):
        cells = []
        for one in (data.get(source), drawn.get(source)):
            first = one.findings[0] if one and one.findings else None
            cells += [f"{first.auc.value:.2f} {first.called}" if first else "–"]
            cells += [f"{one.together.value:.2f}" if one and one.together else "–"]
        rows.append((printable(source), *cells))
    return rows


def _record(runs: Path) -> Record:
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.runs.record import Record, RunRecord

    try:
        return RunRecord(runs).read()
    except DeepfakeError as error:  # the runs can be listed all the same
        typer.echo(f"dfbench: {error}", err=True)
        return Record()


def _as_json(run: RunInfo, runs: Path) -> dict[str, Any]:
    entry = run.entry.model_dump(mode="json", exclude={"run", "timestamp"}) if run.entry else {}
    return {
        "run": name_of(run.folder, runs),
        "status": run.status,
        **entry,
        "step": run.step,
        "changed": run.changed.isoformat(timespec="seconds"),
        "size_bytes": run.size_bytes,
        "last_bytes": run.last_bytes,
        "cache_bytes": run.cache_bytes,
        "reason": run.reason,
    }


def _best(run: RunInfo) -> str:
    return f"{run.entry.monitor} {run.entry.value:.4f}" if run.entry and run.entry.value is not None else ""


def _taken(taken: dict[str, Any]) -> str:
    """Return what a training took, in words."""
    from deepfake_core.progress import duration

    said = f"{taken['steps']:,} steps, {taken['images']:,} images, {duration(taken['seconds'])}"
    return said if taken["bit_reproducible"] else f"{said}; it cannot be repeated bit by bit"


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")

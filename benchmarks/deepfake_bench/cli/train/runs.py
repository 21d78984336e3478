"""``dfbench runs``: list, compare, tidy and archive training runs."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.output.text import columns
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_core.training.runs.housekeeping import RunInfo
    from deepfake_core.training.runs.record import Record

app = typer.Typer(
    name="runs", help="List, compare, tidy and archive training runs.", no_args_is_help=True, rich_markup_mode=None
)

Runs = Annotated[Path, typer.Argument(help="Folder that holds the runs.")]
Run = Annotated[Path, typer.Argument(help="Folder of one run.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]


@app.callback()
def options() -> None:
    """List, compare, tidy and archive training runs."""


@app.command("list")
def list_runs(
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List runs with their best metric, their status and their size; * marks the promoted ones."""
    from deepfake_core.training.runs.housekeeping import describe, find_runs

    found = [describe(folder) for folder in find_runs(runs)]
    if as_json:
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
            f"{'*' if run.folder.resolve() in promoted else ' '} {_name(run.folder, runs)}",
            run.entry.detector if run.entry else "",
            run.status,
            _best(run),
            str(run.step or ""),
            _bytes(run.size_bytes),
            _when(run.changed),
        )
        for run in found
    ]
    typer.echo(columns([head, *(tuple(map(printable, row)) for row in rows)]))
    for run in found:
        if run.reason:
            typer.echo(f"damaged: {printable(run.reason)}", err=True)
    total = sum(run.size_bytes for run in found)
    typer.echo(f"{len(found)} runs, {_bytes(total)}; {_bytes(shutil.disk_usage(runs).free)} free on the disk")


@app.command()
def show(run: Run) -> None:
    """Show what one run was, what came out of it, and every file that it left."""
    from deepfake_core.training.runs.housekeeping import FILES, describe
    from deepfake_core.training.runs.runfiles import flat, read_config, read_json

    settings = flat(read_config(run))
    described = describe(run)
    typer.echo(f"{printable(str(run))}: {described.status}, best {_best(described) or '-'}, step {described.step}")
    if described.reason:
        typer.echo(f"damaged: {printable(described.reason)}", err=True)
    test = read_json(run / "metrics.json").get("test_metrics")
    if test:
        typer.echo("test: " + ", ".join(f"{key} {_number(value)}" for key, value in test.items()))
    typer.echo("\n" + columns([(printable(key), printable(str(value))) for key, value in settings.items()]))
    rows: list[tuple[str, ...]] = []
    for name, purpose in FILES.items():
        path = run / name
        if path.exists():
            inner = path.rglob("*") if name.endswith("/") else [path]
            rows.append((name, _bytes(sum(file.stat().st_size for file in inner if file.is_file())), purpose))
    typer.echo("\n" + columns(rows))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Folders of runs.", show_default=False)],
) -> None:
    """Put runs side by side: their metrics, and the settings in which they differ."""
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.runs.record import entry_of
    from deepfake_core.training.runs.runfiles import flat, read_config, read_history, read_json

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
    rows = [("", *(printable(entry.run) for entry in entries))]
    names = dict.fromkeys(name for values in measured for name in values)
    rows += [(name, *(_number(values.get(name)) for values in measured)) for name in names]
    for name in dict.fromkeys(name for values in settings for name in values):
        found = [values.get(name) for values in settings]
        if any(value != found[0] for value in found):
            rows.append((printable(name), *(printable(str(value)) for value in found)))
    typer.echo(columns(rows))
    if len({entry.fingerprint for entry in entries}) > 1:
        typer.echo("The runs were validated on different samples: their best values cannot be compared.", err=True)


@app.command()
def prune(
    runs: Runs = Path("runs"),
    keep: Annotated[int, typer.Option(min=0, help="Finished runs, the latest, that keep theirs.")] = 3,
    cache: Annotated[bool, typer.Option("--cache", help="Delete caches of crops as well.")] = False,
    yes: Yes = False,
) -> None:
    """Delete the resume state (last.pt) of finished runs; models, metrics and logs stay."""
    from deepfake_core.training.runs.housekeeping import describe, find_runs, to_prune
    from deepfake_core.training.runs.housekeeping import prune as prune_run

    chosen = to_prune([describe(folder) for folder in find_runs(runs)], keep, cache=cache)
    freed = 0
    for run in chosen:
        size = prune_run(run, cache=cache) if yes else run.last_bytes + (run.cache_bytes if cache else 0)
        freed += size
        typer.echo(f"{'pruned' if yes else 'would prune'} {printable(_name(run.folder, runs))}: {_bytes(size)}")
    did = "freed" if yes else "would free"
    hint = "" if yes or not chosen else "; do it by --yes"
    free = _bytes(shutil.disk_usage(runs).free)
    typer.echo(f"{len(chosen)} runs, {did} {_bytes(freed)}{hint} ({free} free on the disk)")


@app.command()
def archive(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="ZIP file to write; by default RUN.zip.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Add log, curves, overlays, predictions and resume state.")
    ] = False,
) -> None:
    """Write one ZIP file of a run: model, settings, metrics and a README; the same run gives the same bytes."""
    from deepfake_core.training.runs.housekeeping import archive as archive_run

    file = archive_run(run, out or Path(f"{run.resolve().name}.zip"), everything=everything)
    typer.echo(f"wrote {file} ({_bytes(file.stat().st_size)})")


@app.command()
def clean(runs: Runs = Path("runs"), yes: Yes = False) -> None:
    """Take runs whose folders were deleted out of model_metadata.json; promoted models stay."""
    from deepfake_core.training.runs.record import RunRecord

    record = RunRecord(runs)
    names = record.deleted()
    if yes and names:
        record.forget(names)
    for name in names:
        typer.echo(f"{'forgot' if yes else 'would forget'} {printable(name)}")
    typer.echo(f"{len(names)} deleted runs{'' if yes or not names else '; forget them by --yes'}")


@app.command()
def record(run: Run) -> None:
    """Enter a finished run into model_metadata.json again, as after a lost record; promote it if it is the best."""
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.runs.record import RunRecord, entry_of
    from deepfake_core.training.runs.runfiles import status

    if status(run) != "finished":
        raise DeepfakeError(f"{run}: has not finished; go on with it by --resume")
    promotion = RunRecord(run.resolve().parent).add(entry_of(run))
    typer.echo(f"{'promoted to ' + str(promotion.folder) if promotion.promoted else 'recorded'}: {promotion.reason}")


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
        "run": _name(run.folder, runs),
        "status": run.status,
        **entry,
        "step": run.step,
        "changed": run.changed.isoformat(timespec="seconds"),
        "size_bytes": run.size_bytes,
        "last_bytes": run.last_bytes,
        "cache_bytes": run.cache_bytes,
        "reason": run.reason,
    }


def _name(folder: Path, runs: Path) -> str:
    return folder.relative_to(runs).as_posix() if folder != runs else folder.resolve().name


def _best(run: RunInfo) -> str:
    return f"{run.entry.monitor} {run.entry.value:.4f}" if run.entry and run.entry.value is not None else ""


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if value.is_integer() else f"{value:.4f}"
    return "-" if value is None else str(value)


def _bytes(size: int) -> str:
    for unit, many in (("GB", 1e9), ("MB", 1e6)):
        if size >= many:
            return f"{size / many:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")

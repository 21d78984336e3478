"""``dfbench runs prune``, ``archive``, ``clean`` and ``record``: runs that take space, move away or were deleted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.output.text import size_text
from deepfake_bench.cli.runs.shared import Run, Runs, Yes, name_of
from deepfake_bench.printable import printable


def prune(
    runs: Runs = Path("runs"),
    keep: Annotated[
        int, typer.Option(metavar="N", min=0, help="Number of the latest finished runs that keep their resume state.")
    ] = 3,
    cache: Annotated[bool, typer.Option("--cache", help="Also delete the caches of crops.")] = False,
    yes: Yes = False,
) -> None:
    """Delete the resume state of finished runs.

    That is the file last.pt; models, metrics and logs stay.

    Examples:
        dfbench runs prune
        dfbench runs prune --keep 1 --yes
    """
    from deepfake_core.training.runs.listing import describe, find_runs
    from deepfake_core.training.runs.prune import prune as prune_run
    from deepfake_core.training.runs.prune import to_prune

    chosen = to_prune([describe(folder) for folder in find_runs(runs)], keep, cache=cache)
    freed = 0
    for run in chosen:
        size = prune_run(run, cache=cache) if yes else run.last_bytes + (run.cache_bytes if cache else 0)
        freed += size
        typer.echo(f"{'pruned' if yes else 'would prune'} {printable(name_of(run.folder, runs))}: {size_text(size)}")
    did = "freed" if yes else "would free"
    hint = "" if yes or not chosen else "; add --yes to delete them"
    free = size_text(shutil.disk_usage(runs).free)
    typer.echo(f"{len(chosen)} runs, {did} {size_text(freed)}{hint} ({free} free on the disk)")


def archive(
    run: Run,
    out: Annotated[Path | None, typer.Option(metavar="FILE.zip", help="ZIP file to write; by default RUN.zip.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also store the log, curves, overlays, predictions and resume state.")
    ] = False,
) -> None:
    """Write a run to one ZIP file.

    It holds the model, settings, metrics and a README; the same run always gives the same bytes.

    Examples:
        dfbench runs archive runs/mine --out mine.zip
    """
    from deepfake_core.training.runs.archive import archive as archive_run

    file = archive_run(run, out or Path(f"{run.resolve().name}.zip"), everything=everything)
    typer.echo(f"wrote {file} ({size_text(file.stat().st_size)})")


def clean(runs: Runs = Path("runs"), yes: Yes = False) -> None:
    """Remove deleted runs from model_metadata.json.

    These are runs whose folders no longer exist; promoted models stay.

    Examples:
        dfbench runs clean
        dfbench runs clean --yes
    """
    from deepfake_core.training.runs.record import RunRecord

    record = RunRecord(runs)
    names = record.deleted()
    if yes and names:
        record.forget(names)
    for name in names:
        typer.echo(f"{'forgot' if yes else 'would forget'} {printable(name)}")
    typer.echo(f"{len(names)} deleted runs{'' if yes or not names else '; add --yes to forget them'}")


def record(run: Run) -> None:
    """Enter a finished run into model_metadata.json again.

    This restores a record that was lost; the run is promoted where it is the best.

    Examples:
        dfbench runs record runs/mine
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.runs.entries import entry_of
    from deepfake_core.training.runs.files import status
    from deepfake_core.training.runs.record import RunRecord

    if status(run) != "finished":
        raise DeepfakeError(f"{run}: has not finished; continue it with dfbench train --resume")
    promotion = RunRecord(run.resolve().parent).add(entry_of(run))
    typer.echo(f"{'promoted to ' + str(promotion.folder) if promotion.promoted else 'recorded'}: {promotion.reason}")

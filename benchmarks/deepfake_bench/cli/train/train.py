"""``dfbench train``: train a detector."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from deepfake_bench.cli.models import trained_model
from deepfake_bench.cli.output.options import (
    AllowSeen,
    CacheDir,
    Changes,
    Device,
    Download,
    Recipe,
    Smoke,
    Start,
    Track,
    TrainedDetector,
    ValidationData,
)
from deepfake_bench.cli.train.recipes import recipes
from deepfake_bench.cli.train.settings import (
    DEFAULT_RECIPE,
    announce,
    configured,
    is_first_process,
    stored_run,
    to_train,
)


def train(
    detector: TrainedDetector,
    data: Annotated[
        str | None,
        typer.Option(metavar="[LAYOUT:]PATH", help="Training data; with --resume by default those of the run."),
    ] = None,
    valid: ValidationData = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="[LAYOUT:]PATH", help="Test data, evaluated once, after the training has ended."),
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml", help="TOML file with the origin of each source of training data, and its terms."
        ),
    ] = None,
    recipe: Recipe = None,
    changes: Changes = None,
    list_recipes: Annotated[
        bool, typer.Option("--list-recipes", help="List the recipes of the detector and exit.")
    ] = False,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder for all files of the run; by default runs/DETECTOR-RECIPE-DATE-TIME."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --run-dir with its own recipe and data.")
    ] = False,
    smoke_run: Smoke = False,
    overfit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Train and validate on this many samples, to check that the detector can learn."
        ),
    ] = None,
    track: Track = None,
    explain: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Number of validation samples that get an overlay at the end."),
    ] = None,
    cache_dir: CacheDir = None,
    start: Start = None,
    allow_seen: AllowSeen = False,
    stop_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Moment by which the model is packaged, however long the recipe is: 20:30, or 2026-03-01T20:30.",
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="N", help="The same in minutes from now, the preparation of data included.")
    ] = None,
    download: Download = False,
    device: Device = "auto",
) -> None:
    """Train a detector.

    The trained model is packaged in RUN_DIR/model.

    Examples:
        dfbench train lite --data my-pictures/ --run-dir runs/mine
        dfbench train lite --run-dir runs/mine --resume
        dfbench train lite --data my-pictures/ --recipe two-phase --set batch_size=16
        dfbench train lite --data my-pictures/ --stop-at 20:30
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.recipes.deadline import seconds_until
    from deepfake_registry.provenance import read_terms

    if list_recipes:
        recipes(detector)
        return
    seconds = seconds_until(stop_at, minutes)
    end = None if seconds is None else datetime.now().astimezone() + timedelta(seconds=seconds)
    loaded = to_train(detector, track)
    stored = stored_run(detector, run_dir) if resume else None
    wanted = list(changes or [])
    wanted += [f"{key}={value}" for key, value in (("overfit", overfit), ("explain", explain)) if value is not None]
    real = configured(loaded, recipe, wanted, stored=stored)
    loaded, settings = configured(loaded, recipe, wanted, smoke=True, stored=stored) if smoke_run else real
    data = data or (stored.data if stored else None)
    if data is None and resume:
        raise DeepfakeError(
            f"{run_dir}: holds no run that could go on; one that ended before its training began is begun anew by the "
            "command that started it"
        )
    if data is None:
        raise DeepfakeError("--data is missing: name the training data as --data NAME:PATH or --data FOLDER")
    folder = run_dir or _new_run_dir(detector, recipe)
    tracked: dict[str, Any] = {"track": track} if track else {}
    trained = loaded.train(
        data,
        recipe=settings,
        run_dir=folder,
        valid=valid or (stored.valid if stored else None),
        test=test or (stored.test if stored else None),
        device=device,
        cache_dir=cache_dir,
        resume=resume,
        start=trained_model(start) if start else None,
        allow_seen=allow_seen,
        download=download,
        terms=read_terms(sources) if sources else (),
        tries=real[1] if smoke_run else None,
        on_start=lambda: announce(loaded, settings, folder),
        stop_at=end,
        **tracked,
    )
    if is_first_process():
        typer.echo(f"trained {trained.manifest.name} {trained.manifest.version}: {folder / 'model'}")


def _new_run_dir(detector: str, recipe: str | None) -> Path:
    from deepfake_core.errors import DeepfakeError

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DeepfakeError("several processes need one common folder: name it with --run-dir")
    return Path("runs") / f"{detector}-{Path(recipe or DEFAULT_RECIPE).stem}-{datetime.now():%Y%m%d-%H%M%S}"

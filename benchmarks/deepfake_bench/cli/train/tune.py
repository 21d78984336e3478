"""``dfbench tune``: search for better settings of a recipe."""

from __future__ import annotations

import enum
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    TrainingData,
    ValidationData,
)
from deepfake_bench.cli.output.text import columns
from deepfake_bench.cli.train.settings import DEFAULT_RECIPE, announce, configured, to_train, with_config

if TYPE_CHECKING:
    from deepfake_core.contract.recipe import TrainRecipe
    from deepfake_core.training.tune import TrialResult

SQLITE = "sqlite:///"


class Pruner(enum.StrEnum):
    """Rule that ends weak trials early."""

    median = "median"
    hyperband = "hyperband"
    none = "none"


def tune(
    detector: TrainedDetector,
    data: TrainingData,
    space: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=KIND:VALUES",
            help="Setting to vary, and its range: KEY=log:1e-5..1e-2, KEY=float:0..0.3, KEY=int:1..4 or "
            "KEY=choice:16,32; may be repeated.",
        ),
    ],
    valid: ValidationData = None,
    recipe: Recipe = None,
    changes: Changes = None,
    trials: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of finished trials in all, those of earlier calls included.")
    ] = 20,
    pruner: Annotated[Pruner, typer.Option(help="Rule that ends weak trials early.")] = Pruner.median,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Seconds after which no further trial starts.")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Seed for the choice of trials; the recipe holds the seed for the training."
        ),
    ] = 0,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder for best.yaml and one run per trial; by default runs/tune-DETECTOR-RECIPE."
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.db|sqlite:///FILE.db", help="SQLite file for the trials; by default RUN_DIR/study.db."
        ),
    ] = None,
    smoke_run: Smoke = False,
    track: Track = None,
    cache_dir: CacheDir = None,
    start: Start = None,
    allow_seen: AllowSeen = False,
    download: Download = False,
    device: Device = "auto",
) -> None:
    """Search for better settings of a recipe.

    The same command continues a search that was interrupted. Every trial trains and validates on the same data. The
    recipe of the best trial is written to RUN_DIR/best.yaml.

    Examples:
        dfbench tune lite --data my-pictures/ --space batch_size=choice:16,32
        dfbench tune lite --data faces/ --space optimizer.weight_decay=log:1e-4..0.1
    """
    from deepfake_core.datasets.opening import open_dataset
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.checks import check_installed, check_optuna, raise_missing

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DeepfakeError("a search runs in one process; start it without a launcher")
    loaded = to_train(detector, track, check_optuna)
    real = configured(loaded, recipe, changes or [])
    loaded, settings = configured(loaded, recipe, changes or [], smoke=True) if smoke_run else real
    from deepfake_core.training import tune as search
    from deepfake_core.training.recipes.changes import CONFIG, changed, split_changes
    from deepfake_core.training.recipes.space import as_change, parse_space

    begun = trained_model(start) if start else None
    folder = run_dir or Path("runs") / f"tune-{detector}-{Path(recipe or DEFAULT_RECIPE).stem}"
    dimensions = parse_space(space)
    config = loaded.detector.config
    for dimension in dimensions:
        for value in dimension.ends:
            changed(config, split_changes([as_change(dimension.key, value)])[1], "--space config")
    # Refuse before the recipe is printed, and before the first trial.
    datasets = [open_dataset(address) if address else None for address in (data, valid)]
    raise_missing([check_optuna, partial(check_installed, loaded.detector, settings, track or (), datasets, real[1])])

    def run(
        recipe: TrainRecipe,
        config_changes: Sequence[str],
        run_dir: Path,
        *,
        resume: bool,
        on_validation: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        with_config(loaded, changed(config, config_changes, "--space config")).train(
            data,
            recipe=recipe.model_copy(update={"explain": 0}),  # overlays of every trial would only cost time
            run_dir=run_dir,
            valid=valid,
            test=False,
            device=device,
            cache_dir=cache_dir or folder / "cache",
            resume=resume,
            start=begun,
            allow_seen=allow_seen,
            download=download,
            on_validation=on_validation,
            **({"track": track} if track else {}),
        )

    found = search.tune(
        run,
        search.Search(
            recipe=settings,
            space=dimensions,
            identity={
                "detector": detector,
                "config": config.model_dump_json(),
                "data": data,
                "validation": valid or "a share of the training data",
                **({"start": f"{begun.manifest.name} {begun.manifest.version}"} if begun else {}),
            },
            trials=trials,
            pruner=pruner.value,
            timeout_s=timeout,
            seed=seed,
        ),
        folder,
        _study_file(study) if study else None,
        on_start=lambda: announce(loaded, settings, folder),
    )
    _show(found, settings.monitor)
    if found and found[0].state == "complete":
        of_detector = [*split_changes(changes or [])[1], *split_changes(found[0].changes)[1]]
        command = ["dfbench", "train", detector, "--data", data, *(["--valid", valid] if valid else [])]
        command += ["--recipe", str(folder / "best.yaml"), *(["--start", start] if start else [])]
        command += ["--allow-seen"] if start and allow_seen else []
        command += [word for change in of_detector for word in ("--set", f"{CONFIG}{change}")]
        typer.echo(f"\n{shlex.join(command)}")


def _study_file(study: str) -> Path:
    from deepfake_core.errors import DeepfakeError

    path = study.removeprefix(SQLITE)
    if "://" in path:
        raise DeepfakeError(f"--study {study}: a study is an SQLite file; write FILE.db or {SQLITE}FILE.db")
    return Path(path)


def _show(found: Sequence[TrialResult], monitor: str) -> None:
    rows = [("trial", "state", monitor, "changes")]
    for tried in found:
        value = "" if tried.value is None else f"{tried.value:.4f}"
        outcome = tried.reason if tried.state == "fail" else " ".join(tried.changes)
        rows.append((str(tried.number), tried.state, value, outcome))
    typer.echo(columns(rows))

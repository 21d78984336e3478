"""``dfbench train``, ``recipes`` and ``export``: the detector's own verbs, from the command line."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.output.options import Device, Download, Weights
from deepfake_bench.cli.train.labelled import held_out_crops, labelled_crops, warn_of_few

if TYPE_CHECKING:
    from deepfake_core.contract.detector import DetectorConfig
    from deepfake_core.contract.recipe import TrainRecipe
    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.training.recipes.resolve import StoredRun

DEFAULT_RECIPE = "default"

Data = Annotated[str | None, typer.Option(metavar="NAME:PATH|PATH", help="Training data.")]
Valid = Annotated[
    str | None,
    typer.Option(metavar="NAME:PATH|PATH", help="Validation data; by default a share of the training data's groups."),
]
Recipe = Annotated[
    str | None, typer.Option(metavar="NAME|FILE.yaml", help="See dfbench recipes DETECTOR; by default 'default'.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, as phases.0.epochs=3; may be repeated."),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TRACKER",
        help="tensorboard (the default), mlflow:URI?experiment=E, wandb:PROJECT; may be repeated.",
    ),
]
Smoke = Annotated[bool, typer.Option("--smoke-run", help="A few steps, to see whether everything works.")]
CacheDir = Annotated[
    Path | None, typer.Option(help="Where prepared faces are kept; by default beside the run's other files.")
]


def train(
    detector: Annotated[str, typer.Argument(help="Name of an installed detector.", show_default=False)],
    data: Data = None,
    valid: Valid = None,
    test: Annotated[
        str | None, typer.Option(metavar="NAME:PATH|PATH", help="Test data, judged once when all is decided.")
    ] = None,
    recipe: Recipe = None,
    changes: Changes = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="Folder that takes everything about this run; by default runs/DETECTOR-RECIPE-DATE-TIME."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that --run-dir holds, with its recipe and data.")
    ] = False,
    smoke_run: Smoke = False,
    device: Device = "auto",
    cache_dir: CacheDir = None,
    track: Track = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="DETECTOR|RUN", help="Trained model to go on from: a name, a model file, or a run."),
    ] = None,
    sources: Annotated[
        Path | None, typer.Option(help="TOML file that says where each source of pictures comes from, and its terms.")
    ] = None,
    overfit: Annotated[
        int | None, typer.Option(min=1, help="Train and validate on this many samples, to see whether it can learn.")
    ] = None,
    explain: Annotated[
        int | None, typer.Option(min=0, help="Validation samples to write overlays of at the end.")
    ] = None,
    list_recipes: Annotated[bool, typer.Option("--list-recipes", help="Show the detector's recipes and exit.")] = False,
) -> None:
    """Train a detector; the trained model is packaged in RUN_DIR/model."""
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.loading.load import load
    from deepfake_registry.provenance import read_terms

    if list_recipes:
        recipes(detector)
        return
    loaded = load(detector, untrained=True)
    stored = started_run(detector, run_dir) if resume else None
    wanted = list(changes or [])
    wanted += [f"{key}={value}" for key, value in (("overfit", overfit), ("explain", explain)) if value is not None]
    loaded, settings = configured(loaded, recipe, wanted, smoke=smoke_run, stored=stored)
    data = data or (stored.data if stored else None)
    if data is None:
        raise DeepfakeError("--data is missing: name the training data as --data NAME:PATH or --data FOLDER")
    folder = run_dir or _new_run_dir(detector, recipe)
    announce(loaded, settings, folder)
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
        terms=read_terms(sources) if sources else (),
        **({"track": track} if track else {}),
    )
    if is_first_process():
        typer.echo(f"trained {trained.manifest.name} {trained.manifest.version}: {folder / 'model'}")


def recipes(
    detector: Annotated[str, typer.Argument(help="Name of an installed detector.", show_default=False)],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE.yaml]", help="Recipe to print in full, as YAML.")
    ] = None,
    changes: Changes = None,
) -> None:
    """List the recipes that a detector can be trained by, or print one as YAML that train --recipe takes."""
    from deepfake_core.discovery.plugins import detector_spec
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.handle.loaded import import_torch

    spec = detector_spec(detector)
    made = import_torch("make_detector", spec.install)(spec)
    from deepfake_core.training.recipes.resolve import recipes_of, resolve_recipe, to_yaml

    if name is not None:
        typer.echo(to_yaml(resolve_recipe(made, name, changes or ())), nl=False)
        return
    if changes:
        raise DeepfakeError("--set changes one recipe: name it, as dfbench recipes DETECTOR NAME --set KEY=VALUE")
    found = recipes_of(made)
    width = max(map(len, found))
    for own, recipe in found.items():
        phases = ", then ".join(_length(phase.epochs, phase.steps, phase.name) for phase in recipe.phases)
        brings = "".join(f", config.{key}={value}" for key, value in made.configs.get(own, {}).items())
        typer.echo(
            f"{own:{width}}  {recipe.samples}, batch {recipe.batch_size} × {recipe.accumulate}: {phases}{brings}"
        )


def _length(epochs: int | None, steps: int | None, name: str) -> str:
    return f"{name} {epochs} epochs" if epochs is not None else f"{name} {steps} steps"


def started_run(detector: str, run_dir: Path | None) -> StoredRun | None:
    """The run to go on with; ``None`` where it was cut off before it had written anything.

    Raises:
        DeepfakeError: No folder is named, or its run is of another detector.
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.recipes.resolve import read_run

    if run_dir is None:
        raise DeepfakeError("--resume needs the folder of the run to go on with: --run-dir RUN")
    stored = read_run(run_dir)
    if stored is not None and stored.detector != detector:
        raise DeepfakeError(
            f"{run_dir}: holds a run of {stored.detector!r}; resume it by dfbench train {stored.detector}"
        )
    return stored


def configured(
    loaded: LoadedDetector,
    recipe: str | None,
    changes: Sequence[str],
    *,
    smoke: bool = False,
    stored: StoredRun | None = None,
) -> tuple[LoadedDetector, TrainRecipe]:
    """The detector and the recipe as the user wants them; a stored run's, when that goes on.

    Raises:
        DeepfakeError: There is no such recipe or setting, a value does not fit, or the stored run had others.
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.recipes.resolve import (
        changed,
        config_of,
        differences,
        resolve_recipe,
        split_changes,
        validated,
    )

    of_recipe, of_detector = split_changes(changes)
    detector = loaded.detector
    base = stored.recipe if stored and recipe is None else recipe or DEFAULT_RECIPE
    settings = resolve_recipe(detector, base, of_recipe, smoke)
    if stored is not None:
        before = validated(detector.Config, stored.config, "config of the run")
    else:
        before = config_of(detector, base)
    config = changed(before, of_detector, "--set config")
    if stored is not None:
        other = differences(stored.recipe, settings) + [f"config.{line}" for line in differences(before, config)]
        if other:
            raise DeepfakeError(
                f"a run goes on with the settings that it began with, and these differ: {'; '.join(other)}; "
                "leave them out, or start a new run in another --run-dir"
            )
    return with_config(loaded, config), settings


def with_config(loaded: LoadedDetector, config: DetectorConfig) -> LoadedDetector:
    """The same architecture, untrained, with other hyper-parameters."""
    from deepfake_core.loading.load import load

    if config == loaded.detector.config:
        return loaded
    return load(loaded.manifest.architecture, untrained=True, config=config.model_dump(mode="json"))


def announce(loaded: LoadedDetector, settings: TrainRecipe, folder: Path) -> None:
    """Print what is about to run on standard error, and let the training's own messages through, once."""
    from deepfake_core.training.recipes.resolve import to_yaml

    if not is_first_process():
        return
    logging.basicConfig(format="%(message)s")
    logging.getLogger("deepfake").setLevel(logging.INFO)
    config = loaded.detector.config
    if type(config).model_fields:
        typer.echo(f"# detector {loaded.manifest.architecture}\n{to_yaml(config)}", err=True)
    typer.echo(f"# recipe; run in {folder}\n{to_yaml(settings)}", err=True)


def is_first_process() -> bool:
    """Whether this process is alone, or the first of those that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def _new_run_dir(detector: str, recipe: str | None) -> Path:
    from deepfake_core.errors import DeepfakeError

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DeepfakeError("several processes need to agree on a folder: name it by --run-dir")
    return Path("runs") / f"{detector}-{Path(recipe or DEFAULT_RECIPE).stem}-{datetime.now():%Y%m%d-%H%M%S}"


def export(
    source: Annotated[
        str, typer.Argument(metavar="DETECTOR|RUN", help="A detector's name, a model file, or the folder of a run.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write; a folder gets a whole package, weights included.")],
    format_: Annotated[str, typer.Option("--format", help="An installed exporter.")] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, or a smaller one that the format offers.")] = "fp32",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:PATH|PATH",
            help="Labelled pictures that a low precision is tuned and checked on; int8 of a run takes by default "
            "those that the run held out.",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="triton|mlflow",
            help="Write the folder of a model server: a Triton model repository, or an MLflow model. "
            "An .onnx file goes in as it is.",
        ),
    ] = None,
    weights: Weights = None,
    download: Download = False,
) -> None:
    """Write a detector in another format, once the export has been shown to agree with the network."""
    from deepfake_core.errors import DeepfakeError

    write = layout_writer(layout) if layout is not None else None
    if write and format_ != "onnx":
        raise DeepfakeError(f"--layout {layout} holds an ONNX file: leave out --format {format_}")
    if write and Path(source).suffix.lower() == ".onnx":
        if (precision, data, weights) != ("fp32", None, None):
            raise DeepfakeError(f"{source} goes in as it is: leave out --precision, --data and --weights")
        typer.echo(f"wrote {write(source, out)}")
        return
    loaded = trained_model(source, weights=weights, download=download)
    options: dict[str, Any] = {}
    if data is not None:
        options = labelled_crops(loaded, data)
    elif precision == "int8" and model_of(source) != source:
        options = held_out_crops(loaded, Path(source))
    if precision != "fp32":
        warn_of_few(loaded, data or source, options)
    if write:
        with TemporaryDirectory() as scratch:
            exported = loaded.export(format_, precision, out=Path(scratch) / "model.onnx", **options)
            typer.echo(f"wrote {write(exported, out)}")
    elif out.suffix:
        typer.echo(f"wrote {loaded.export(format_, precision, out=out, **options)}")
    else:
        from deepfake_exports.package import export_package

        typer.echo(f"wrote {export_package(loaded, format_, precision, out, **options).folder}")


def layout_writer(layout: str) -> Callable[[str | Path, str | Path], Path]:
    """What writes an ONNX file to the folder of a model server.

    Raises:
        DeepfakeError: There is no such layout.
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_exports.layouts import LAYOUTS

    if layout not in LAYOUTS:
        raise DeepfakeError(f"unknown layout {layout!r}; there are {' and '.join(LAYOUTS)}")
    return LAYOUTS[layout]


def trained_model(source: str, *, weights: str | None = None, download: bool = False) -> LoadedDetector:
    """A detector's name, a model file or the folder of a run, loaded in torch."""
    from deepfake_core.loading.load import load

    return load(model_of(source), backend="torch", weights=weights, download=download)


def model_of(source: str) -> str:
    """The packaged model, where the folder of a run is named; anything else as it is.

    The name of an installed detector is always a name: a folder that is called so must not hide it.
    """
    from deepfake_core.discovery import plugins

    packaged = Path(source) / "model"
    return str(packaged) if packaged.is_dir() and source not in plugins.detectors() else source

"""``dfbench train`` and ``dfbench export``: the detector's own verbs, from the command line."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.options import Device

if TYPE_CHECKING:
    from deepfake_core.loaded import LoadedDetector
    from deepfake_core.training.recipe import TrainRecipe


def train(
    detector: Annotated[str, typer.Argument(help="Name of an installed detector.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Folder of labelled pictures: <source>/{real,fake}/…")],
    run_dir: Annotated[Path, typer.Option(help="Folder that takes everything about this run.")],
    recipe: Annotated[str, typer.Option(help="One of the detector's recipes.")] = "default",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, as steps=100.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="DETECTOR|RUN", help="Trained model to go on from: a name, a model file, or a run."),
    ] = None,
    sources: Annotated[
        Path | None, typer.Option(help="TOML file that says where each source of pictures comes from, and its terms.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that --run-dir holds.")] = False,
    device: Device = "auto",
) -> None:
    """Train a detector; the trained model is packaged in RUN_DIR/model."""
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.loading import load
    from deepfake_registry.provenance import read_terms

    if run_dir.is_dir() and any(run_dir.iterdir()) and not resume:
        raise DeepfakeError(f"{run_dir}: is not empty; go on with its run by --resume, or name another --run-dir")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("deepfake").setLevel(logging.INFO)
    loaded = load(detector, untrained=True)
    trained = loaded.train(
        data,
        recipe=changed_recipe(loaded, recipe, changes or []),
        run_dir=run_dir,
        device=device,
        terms=read_terms(sources) if sources else (),
        start=trained_model(start) if start else None,
    )
    typer.echo(f"trained {trained.manifest.name} {trained.manifest.version}: {run_dir / 'model'}")


def changed_recipe(loaded: LoadedDetector, name: str, changes: list[str]) -> TrainRecipe:
    """One of the detector's recipes with ``key=value`` changes; a dot reaches inside, as in ``pseudo.labelled=0``.

    Raises:
        DeepfakeError: There is no such recipe or setting, or the value does not fit.
    """
    from pydantic import ValidationError

    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.recipe import TrainRecipe

    recipes = loaded.detector.recipes
    if name not in recipes:
        raise DeepfakeError(f"unknown recipe {name!r}; there are: {', '.join(sorted(recipes)) or 'none'}")
    settings = recipes[name].model_dump()
    for change in changes:
        key, equals, value = change.partition("=")
        *parents, last = key.split(".")
        place: Any = settings
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or last not in place:
            raise DeepfakeError(f"--set {change}: not KEY=VALUE with a setting of the recipe: {', '.join(settings)}")
        place[last] = _parsed(value)
    try:
        return TrainRecipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise DeepfakeError(f"--set {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def export(
    source: Annotated[
        str, typer.Argument(metavar="DETECTOR|RUN", help="A detector's name, a model file, or the folder of a run.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write; a folder gets a whole package, weights included.")],
    format_: Annotated[str, typer.Option("--format", help="An installed exporter.")] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, or a smaller one that the format offers.")] = "fp32",
    data: Annotated[
        Path | None, typer.Option(help="Folder of labelled pictures that a low precision is tuned and checked on.")
    ] = None,
) -> None:
    """Write a detector in another format, once the export has been shown to agree with the network."""
    loaded = trained_model(source)
    options = labelled_crops(loaded, data) if data is not None else {}
    if out.suffix:
        typer.echo(f"wrote {loaded.export(format_, precision, out=out, **options)}")
    else:
        from deepfake_exports.package import export_package

        typer.echo(f"wrote {export_package(loaded, format_, precision, out, **options).folder}")


def trained_model(source: str) -> LoadedDetector:
    """A detector's name, a model file or the folder of a run, loaded in torch."""
    from deepfake_core.loading import load

    packaged = Path(source) / "model"
    return load(str(packaged) if packaged.is_dir() else source, backend="torch")


def labelled_crops(loaded: LoadedDetector, data: Path) -> dict[str, Any]:
    """The most prominent face of each picture with its label, as an exporter's ``calibration_images`` and ``labels``.

    Raises:
        TrainingDataError: The folder holds no labelled pictures, or no face is found in any.
    """
    import numpy as np

    from deepfake_core.datasets.image_folder import ImageFolder
    from deepfake_core.errors import TrainingDataError

    samples = list(ImageFolder(data))
    results = loaded.stream([sample.path for sample in samples], keep_crops=True)
    found = [
        (result.faces[0].crop, sample.fake) for sample, result in zip(samples, results, strict=True) if result.faces
    ]
    if not found:
        raise TrainingDataError(f"{data}: no face was found in any of {len(samples)} files")
    crops, labels = zip(*found, strict=True)
    return {"calibration_images": np.stack(crops), "labels": np.array(labels)}

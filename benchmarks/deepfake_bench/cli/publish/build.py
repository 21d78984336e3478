"""``dfbench registry build``: from trained detectors to measured models in a registry, by one command."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli.models import trained_model
from deepfake_bench.cli.output.options import RegistryUrl, Threads
from deepfake_bench.cli.publish.few_images import warn_of_few

if TYPE_CHECKING:
    from deepfake_bench.records.report import Report

EXIT_FAILED = 1
ALIAS = "candidate"


def build(
    recipes: Annotated[Path, typer.Argument(metavar="RECIPES.toml", help="Format and precision for each detector.")],
    detectors: Annotated[
        list[str] | None, typer.Argument(metavar="[DETECTOR]...", help="By default each that the recipes name.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="What accuracy is measured on: [NAME=][LAYOUT:]PATH; may be repeated.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="NAME:PATH|PATH", help="Labelled pictures that int8 is tuned and checked on.")
    ] = None,
    registry: RegistryUrl = None,
    threads: Threads = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Time for each steady-state measurement.")] = 2.0,
) -> None:
    """Export detectors, verify and measure each export, and push it with its report; the alias candidate follows.

    A detector that cannot be built is named with the reason, and the others go on. Exit status: 0, or 1 when one of
    them could not be built.
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.progress import track
    from deepfake_exports.calibration_images import labelled_crops
    from deepfake_exports.package import export_package
    from deepfake_exports.recipes import read_recipes
    from deepfake_registry.store.opening import open_registry

    found = read_recipes(recipes)
    for name in detectors or ():
        if name not in found:
            raise DeepfakeError(f"{recipes}: has no recipe for {name!r}; it has {', '.join(found)}")
    store = open_registry(registry)
    failed = False
    for name in track(detectors or list(found), "building"):
        recipe = found[name]
        try:
            loaded = trained_model(name)
            options = labelled_crops(loaded, data) if data is not None else {}
            if recipe.precision != "fp32":
                warn_of_few(loaded, data or "", options)
            with TemporaryDirectory() as folder:
                package = export_package(loaded, recipe.format, recipe.precision, Path(folder) / name, **options)
                report = _measured(name, package.folder, dataset or [], threads, seconds)
                report.write(Path(folder) / "report.json")
                pushed, new = store.push(package.folder, [(Path(folder) / "report.json").read_bytes()])
            reason = f"built by {recipes.name}: {recipe.format}, {recipe.precision}"
            store.move(name, ALIAS, pushed.manifest.version, reason=reason)
        except DeepfakeError as error:
            failed = True
            typer.echo(f"{name}: {error}", err=True)
            continue
        typer.echo(f"{pushed.reference} {recipe.format} {recipe.precision}: {'pushed' if new else 'was there already'}")
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _measured(name: str, package: Path, dataset: list[str], threads: int | None, seconds: float) -> Report:
    """The report that ``dfbench run`` would give, under the detector's name.

    Raises:
        DeepfakeError: A measurement failed.
    """
    from deepfake_bench.records.dataset import with_plumbing
    from deepfake_bench.runner.launcher import launch
    from deepfake_bench.runner.machine import make_report
    from deepfake_bench.runner.plan import plan
    from deepfake_core.errors import DeepfakeError

    jobs = plan([f"{package}/"], None, None, with_plumbing(dataset), device="cpu", threads=threads, seconds=seconds)
    measurements = [launch(job).model_copy(update={"detector": name}) for job in jobs]
    for row in measurements:
        if row.status == "failed":
            raise DeepfakeError(f"{row.scenario} failed: {row.reason}")
    return make_report(measurements)

"""``dfbench registry build``: export, measure and publish trained detectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli.models import trained_model
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.options import RegistryUrl, Threads
from deepfake_bench.cli.publish.few_images import warn_of_few

if TYPE_CHECKING:
    from deepfake_bench.records.report import Report

ALIAS = "candidate"


def build(
    recipes: Annotated[
        Path, typer.Argument(metavar="RECIPES.toml", help="TOML file with a format and a precision for each detector.")
    ],
    detectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DETECTOR", help="Detectors to build, see dfbench list; by default every one in the file."
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=][LAYOUT:]PATH", help="Dataset for the measurement of accuracy; may be repeated."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="[LAYOUT:]PATH", help="Labelled images on which int8 is tuned and checked."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.01, help="Duration of each steady-state measurement.")
    ] = 2.0,
    registry: RegistryUrl = None,
    threads: Threads = None,
) -> None:
    """Export, measure and publish detectors.

    Each export is verified, measured and pushed with its report, and the alias candidate is pointed at it. A detector
    that cannot be built is named with the reason, and the others are still built. Exit status: 0; 1 when a detector
    could not be built.

    Examples:
        dfbench registry build exports/recipes.toml lite --dataset my-pictures/
    """
    from tempfile import TemporaryDirectory

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
        raise typer.Exit(ExitStatus.FAILED)


def _measured(name: str, package: Path, dataset: list[str], threads: int | None, seconds: float) -> Report:
    """Make the report that ``dfbench run`` would make of a package, under the name of its detector.

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

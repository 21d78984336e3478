"""``dfbench run``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.output.options import Backend, Device, Threads

EXIT_FAILED = 1
QUICK = ("single_stream", "accuracy")
"""Scenarios of a glance."""


class Variants(enum.StrEnum):
    """How many changes robustness makes to a picture."""

    quick = "quick"
    full = "full"


def run(
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="A name, name@version or name@alias, a model file or a packaged folder; by default every one."
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="[NAME=][LAYOUT:]PATH, with options as for train --data.")
    ] = None,
    backend: Annotated[list[Backend] | None, typer.Option(help="What runs the network; may be repeated.")] = None,
    scenario: Annotated[
        list[str] | None, typer.Option(help="By default those of speed, and accuracy; may be repeated.")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Time for each steady-state measurement.")] = 2.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A glance: latency and accuracy alone, for a tenth of the time.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out: measure only what it lacks.")
    ] = False,
    recipe: Annotated[str, typer.Option(help="How train_throughput trains.")] = "default",
    price_per_core_hour: Annotated[
        float | None, typer.Option(min=0, help="For the cost of a million pictures, in the currency of this price.")
    ] = None,
    p99_ms: Annotated[
        float | None, typer.Option(min=0.001, help="For the rate at which server answers 99 of 100 in so many ms.")
    ] = None,
    variants: Annotated[
        Variants, typer.Option(help="How many changes robustness makes to a picture.")
    ] = Variants.quick,
    repeat: Annotated[
        int, typer.Option(min=1, help="Rounds, so that dfbench compare sees how much processes differ.")
    ] = 1,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="Measure another environment in turns; its report is beside.json in --out, its scores are in beside/.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.json, every score as CSV, and what --resume needs.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the report as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="File for the report as a page.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File for its figures as CSV.")] = None,
) -> None:
    """Measure detectors, each measurement in a process of its own, and hold them against their documented targets.

    Without arguments: the speed of every installed detector, and a small embedded set that shows that the pipeline
    runs (it is no accuracy claim). Exit status: 0, or 1 when a measurement failed.
    """
    from deepfake_bench.cli.measure.reports import write_views
    from deepfake_bench.cli.output.tables import show_report
    from deepfake_bench.records.dataset import with_plumbing
    from deepfake_bench.runner.launcher import Kept
    from deepfake_bench.runner.machine import make_report
    from deepfake_bench.runner.plan import left_out, plan
    from deepfake_bench.scenarios.catalogue import SCENARIOS
    from deepfake_core.discovery import plugins
    from deepfake_core.discovery.registry_source import find_registered, is_registered_name
    from deepfake_core.errors import DeepfakeError, UnknownDetector
    from deepfake_core.progress import track

    if resume and out is None:
        raise DeepfakeError("--resume goes on with the run in a folder: name it by --out")
    if beside and out is None:
        raise DeepfakeError("--beside writes two reports into a folder: name it by --out")
    if p99_ms is not None and "server" not in (scenario or ()):
        raise DeepfakeError("--p99-ms is for the scenario server: add --scenario server")
    for name in scenario or ():
        if name not in SCENARIOS:
            raise typer.BadParameter(f"unknown scenario {name!r}; there are: {', '.join(SCENARIOS)}")
    # An alias may be moved while this runs: all measurements are of the version that it points at now.
    names = [find_registered(name).reference if is_registered_name(name) else name for name in detector or ()]
    for name in names:
        if not is_registered_name(name) and not Path(name).exists():
            plugins.detector_spec(name)
    names = names or list(plugins.detectors())
    if not names:
        raise UnknownDetector("no detector is installed; run: pip install deepfake-lite")
    jobs = plan(
        names * repeat,
        [item.value for item in backend or ()],
        scenario or (QUICK if quick else None),
        with_plumbing(dataset or ()),
        device=device,
        threads=threads,
        seconds=seconds / 10 if quick else seconds,
        recipe=recipe,
        price_per_core_hour=price_per_core_hour,
        p99_ms=p99_ms,
        variants=variants.value,
        out=out,
    )
    here = Kept(out / "measurements" if out else None, resume=resume)
    there = Kept(out / "beside", resume=resume, python=beside) if out and beside else None
    measurements, others = [], []
    try:
        for number, job in enumerate(track(jobs, "measuring")):
            if there and there.folder:
                others.append(there.launch(number, job.into(there.folder)))
            measurements.append(here.launch(number, job))
    finally:
        report = make_report([*measurements, *left_out(jobs)])
        if there and out:
            report = report.model_copy(update={"turns": f"{out.resolve().name}, {report.created}"})
            there.about.model_copy(update={"measurements": others, "turns": report.turns}).write(out / "beside.json")
        show_report(report)
        for target in filter(None, (json_file, out and out / "report.json")):
            report.write(target)
        write_views([report], html, csv)
    if any(measurement.status == "failed" for measurement in [*measurements, *others]):
        raise typer.Exit(EXIT_FAILED)

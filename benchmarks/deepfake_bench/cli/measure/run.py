"""``dfbench run``: measure detectors."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.models import model_of
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.json_file import JsonFile, echo_beside, is_stdout
from deepfake_bench.cli.output.options import Backend, Device, Targets, Threads

if TYPE_CHECKING:
    from deepfake_bench.records.job import Job

QUICK = ("single_stream", "accuracy")
"""Scenarios of ``--quick``."""


class Variants(enum.StrEnum):
    """Set of changes to the images in the scenario robustness."""

    quick = "quick"
    full = "full"


def run(
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DETECTOR",
            autocompletion=completion.detectors,
            help="Detector to measure: a name, see dfbench list, name@version or name@alias, a model file or the "
            "folder of a packaged model or a run; by default every installed detector; may be repeated.",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=][LAYOUT:]PATH",
            help="Dataset for accuracy, with options as for dfbench train --data; may be repeated.",
        ),
    ] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCENARIO",
            autocompletion=completion.scenarios,
            callback=completion.one_scenario,
            help="Scenario to measure: cold_start, single_stream, offline, train_throughput, server, accuracy, "
            "robustness, attack, explain, untrained_probe or training_record; by default those of speed, and accuracy; "
            "may be repeated.",
        ),
    ] = None,
    variants: Annotated[
        Variants, typer.Option(help="Set of changes to the images in the scenario robustness.")
    ] = Variants.quick,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Training recipe for the scenario train_throughput, see dfbench recipes DETECTOR."
        ),
    ] = "default",
    data: Annotated[
        str,
        typer.Option(
            metavar="[LAYOUT:]PATH", help="Faces that train_throughput trains on; by default the sample faces."
        ),
    ] = "",
    p99_ms: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            min=0.001,
            help="Experimental: time limit in milliseconds; the scenario server searches for the highest request rate "
            "at which 99 of 100 answers keep it.",
        ),
    ] = None,
    price_per_core_hour: Annotated[
        float | None,
        typer.Option(
            metavar="PRICE",
            min=0,
            help="Experimental: price of a CPU core for one hour; adds the cost of a million images, in the same "
            "currency, to the report.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.01, help="Duration of each steady-state measurement.")
    ] = 2.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure latency and accuracy only, for a tenth of --seconds.")
    ] = False,
    repeat: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Number of rounds; with several, dfbench compare can tell how much processes differ by themselves.",
        ),
    ] = 1,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="Python of another environment, which is measured in turns with this one; its report is beside.json "
            "in --out, its scores are in beside/.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for report.json, every score as CSV, and the state for --resume."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out: measure only what it lacks.")
    ] = False,
    json_file: JsonFile = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the report to this file as an HTML page.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the figures to this file as CSV.")
    ] = None,
    targets: Targets = False,
    backend: Annotated[
        list[Backend] | None,
        typer.Option(
            metavar=f"<{'|'.join(Backend)}>",
            help="Runtime that computes the network; by default the one that auto selects; may be repeated.",
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Measure detectors against their documented targets.

    Each measurement runs in a process of its own. Without arguments: the speed of every installed detector, and a
    small embedded dataset that shows that the pipeline runs (it says nothing about accuracy). Untrained detectors come
    last; on a CPU, where neither --detector nor --scenario names what to measure, they are measured as by --quick. Exit
    status: 0; 1 when a measurement failed.

    Examples:
        dfbench run --device cpu
        dfbench run --detector lite --dataset my-pictures/ --json report.json
        dfbench run --scenario offline --scenario server --seconds 5
    """
    from deepfake_bench.cli.measure.report import write_views
    from deepfake_bench.cli.output.tables import outcome, show_report
    from deepfake_bench.records.dataset import with_plumbing
    from deepfake_bench.runner.launcher import ResumableRun
    from deepfake_bench.runner.machine import make_report
    from deepfake_bench.runner.plan import left_out, plan, split_by_weights
    from deepfake_core.discovery import plugins
    from deepfake_core.discovery.registry_source import find_registered, is_registered_name
    from deepfake_core.errors import DeepfakeError, UnknownDetector
    from deepfake_core.loading.backends import check_device
    from deepfake_core.progress import is_shown, track
    from deepfake_registry.files import check_writable

    if resume and out is None:
        raise DeepfakeError("--resume continues the run in a folder: name the folder with --out")
    if beside and out is None:
        raise DeepfakeError("--beside writes two reports to a folder: name the folder with --out")
    if p99_ms is not None and "server" not in (scenario or ()):
        raise DeepfakeError("--p99-ms is for the scenario server: add --scenario server")
    check_device(device)
    for file in (out and out / "report.json", html, csv, None if is_stdout(json_file) else json_file):
        if file is not None:
            check_writable(file)
    # An alias may be moved while this runs: all measurements are of the version that it points at now.
    names = [find_registered(name).reference if is_registered_name(name) else model_of(name) for name in detector or ()]
    for name in names:
        if not is_registered_name(name) and not Path(name).exists():
            plugins.detector_spec(name)
    names = names or list(plugins.detectors())
    if not names:
        raise UnknownDetector("no detector is installed; run: pip install deepfake-lite")
    datasets = with_plumbing(dataset or ())
    trained, untrained = split_by_weights(names)
    # Untrained detectors, which nobody asked for, would take most of the time.
    glance = quick or not (detector or scenario or device.startswith("cuda"))
    jobs: list[Job] = []
    for round_of, fast in [(trained, quick), (untrained, glance)] * repeat:
        jobs += plan(
            round_of,
            [item.value for item in backend or ()],
            scenario or (QUICK if fast else None),
            datasets,
            device=device,
            threads=threads,
            seconds=seconds / 10 if fast else seconds,
            recipe=recipe,
            data=data,
            price_per_core_hour=price_per_core_hour,
            p99_ms=p99_ms,
            variants=variants.value,
            out=out,
            first=len(jobs),
        )
    here = ResumableRun(out / "measurements" if out else None, resume=resume)
    there = ResumableRun(out / "beside", resume=resume, python=beside) if out and beside else None
    measurements, others = [], []
    try:
        for number, job in enumerate(track(jobs, "measuring")):
            if there and there.folder:
                others.append(there.launch(number, job.into(there.folder)))
            measurements.append(here.launch(number, job))
            if is_shown():
                # typer.echo would write into the bar.
                sys.stderr.write(f"{number + 1} of {len(jobs)}: {outcome(measurements[-1])}\n")
    finally:
        report = make_report([*measurements, *left_out(jobs)])
        if there and out:
            report = report.model_copy(update={"turns": f"{out.resolve().name}, {report.created}"})
            there.about.model_copy(update={"measurements": others, "turns": report.turns}).write(out / "beside.json")
        show_report(report, sys.stderr if is_stdout(json_file) else sys.stdout, targets=targets)
        if is_stdout(json_file):
            typer.echo(report.model_dump_json(indent=2))
        elif json_file is not None:
            report.write(json_file)
        if out is not None:
            report.write(out / "report.json")
        write_views([report], html, csv, echo_beside(json_file))
    if any(measurement.status == "failed" for measurement in [*measurements, *others]):
        raise typer.Exit(ExitStatus.FAILED)

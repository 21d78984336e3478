"""``dfbench card``: measure a trained detector and write the numbers of its model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.models import model_of, run_of
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.options import Device, Threads

if TYPE_CHECKING:
    from deepfake_bench.records.job import Job
    from deepfake_bench.records.report import Report

SCENARIOS = ("single_stream", "cold_start", "untrained_probe", "accuracy", "robustness")


def card(
    detector: Annotated[
        str,
        typer.Argument(
            metavar="DETECTOR",
            autocompletion=completion.detectors,
            help="Name of a detector, see dfbench list; or a model file, or the folder of a packaged model or a run.",
            show_default=False,
        ),
    ],
    page: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE.md",
            help="Markdown file whose marked blocks are filled; one that does not exist is begun, with all of them; "
            "may be repeated.",
        ),
    ],
    dataset: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=][LAYOUT:]PATH",
            help="Dataset for accuracy and robustness; a PATH alone is an image folder; may be repeated.",
        ),
    ],
    validation: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Folder of the training run, see dfbench runs list, whose validation scores are shown; by default "
            "DETECTOR, where that is a run.",
        ),
    ] = None,
    trained_on: Annotated[
        str | None,
        typer.Option(
            metavar="[LAYOUT:]PATH",
            help="Training data, in place of a run: their validation split is made again and scored again. Without "
            "both, the card has the figures that the package keeps.",
        ),
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="TOML file of [[source]] tables: the sources of the training data, and their terms.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Largest number of files of each source and class, for a trial."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.01, help="Duration of each steady-state measurement.")
    ] = 2.0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for the measurements; by default RUN/card.", show_default=False),
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Use the measurements in --out instead of measuring again.")
    ] = False,
    cache_dir: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for the faces that --trained-on prepares.")
    ] = Path("cache"),
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Measure a detector and fill in its model card.

    The marked blocks of the card hold speed, accuracy, robustness with the codec-shortcut check, an untrained
    baseline, calibration before and after, false alarms, shortcuts, sources that were left out of training, and
    pictures of where it looked. Exit status: 0; 1 when a measurement failed.

    Examples:
        dfbench card lite --page CARD.md --dataset my-pictures/ --validation runs/mine
        dfbench card lite --page CARD.md --dataset my-pictures/ --out card/
    """
    from deepfake_bench.card.card import EVIDENCE, begin, blocks_of, fill
    from deepfake_bench.card.evidence import explained
    from deepfake_bench.card.findings import Findings, read_logits, read_validation, score_validation
    from deepfake_bench.records.dataset import parse_dataset
    from deepfake_bench.runner.plan import plan
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.loading.load import load
    from deepfake_core.training.runs.entries import advice_of
    from deepfake_registry.provenance import read_terms

    # Mistakes are found before anything is measured, because measuring takes long.
    detector = model_of(detector)
    validation = validation or (run_of(detector) if trained_on is None else None)
    kept = out or (validation / "card" if validation else None)
    if kept is None or (validation is not None and trained_on is not None):
        raise DeepfakeError(
            "name the training run with --validation, or a folder with --out, and with it, if they are at hand, the "
            "training data with --trained-on"
        )
    begun = [item for item in page if not item.exists()]
    blocks = [name for item in page if item not in begun for name in blocks_of(item)]
    terms = read_terms(sources) if sources is not None else ()
    loaded = load(detector, device=device)
    datasets = [parse_dataset(text) for text in dataset]
    for item in begun:
        begin(item, loaded.manifest.name)
        blocks += blocks_of(item)
    jobs = plan(
        [detector],
        None,
        SCENARIOS,
        datasets,
        device=device,
        threads=threads,
        seconds=seconds,
        limit=limit,
        out=kept,
    )
    calibrated = None
    if validation is not None:
        calibrated = read_validation(validation)
    elif trained_on is not None:
        calibrated = score_validation(detector, trained_on, cache_dir, device)
    run = run_of(str(validation)) if validation is not None else None
    said = advice_of(run) if run is not None else ()
    report = _kept(kept / "report.json", jobs) if reuse else _measured(jobs)
    if not reuse:
        report.write(kept / "report.json")
    evaluation = tuple(
        read_logits(Path(job.predictions), job.dataset.name)
        for job, row in zip(jobs, report.measurements, strict=True)
        if job.scenario == "accuracy" and job.dataset is not None and row.status == "measured"
    )
    evidence = explained(loaded, datasets, terms) if EVIDENCE in blocks else ()
    for item in page:
        fill(item, Findings(loaded.manifest, report, calibrated, evaluation, terms, said, evidence))
        typer.echo(f"wrote {item}")
    failed = [row for row in report.measurements if row.status == "failed"]
    for row in failed:
        typer.echo(f"dfbench: {row.scenario} failed: {row.reason}", err=True)
    if failed:
        raise typer.Exit(ExitStatus.FAILED)


def _measured(jobs: list[Job]) -> Report:
    from deepfake_bench.runner.launcher import launch
    from deepfake_bench.runner.machine import make_report
    from deepfake_core.progress import track

    return make_report([launch(job) for job in track(jobs, "measuring")])


def _kept(file: Path, jobs: list[Job]) -> Report:
    """Read the report of an earlier call with the same plan.

    Raises:
        DeepfakeError: There is no report, or it is of other detectors, scenarios or datasets.
    """
    from pydantic import ValidationError

    from deepfake_bench.records.report import Report
    from deepfake_core.errors import DeepfakeError

    try:
        report = Report.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise DeepfakeError(f"{file}: no report to reuse; leave --reuse out to measure") from error
    kept = [(row.detector, row.scenario) for row in report.measurements]
    names = [row.dataset.name for row in report.measurements if row.dataset is not None]
    planned = [job.dataset.name for job in jobs if job.dataset is not None]
    if kept != [(job.detector, job.scenario) for job in jobs] or not set(names) <= set(planned):
        raise DeepfakeError(f"{file}: was measured with another detector or other datasets; leave --reuse out")
    return report

"""``dfbench data check``: labels and files, duplicates and leaks of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli.data.shared import Data, MaxImages, StateFile, fact_cache, opened
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.json_file import JsonFile, echo_beside, write_json
from deepfake_bench.cli.output.options import Threads
from deepfake_bench.cli.output.text import columns
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_core.data.check import CheckReport
    from deepfake_core.datasets import Dataset

MAX_BAD = 0.01
"""Largest share of unreadable files in a dataset that is fit for use."""


def check(
    data: Data,
    max_bad: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="Largest share of unreadable files in a dataset that is fit for use."
        ),
    ] = MAX_BAD,
    max_images: MaxImages = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Also find images in different splits that look the same.")
    ] = False,
    state: StateFile = None,
    json_file: JsonFile = None,
    threads: Threads = None,
) -> None:
    """Check labels and files, duplicates and leaks.

    Layout and labels are read in full, every file is decoded, and copies and leaks between splits are named. Exit
    status: 0; 2 when the dataset is not fit for training or measuring.

    Examples:
        dfbench data check my-pictures/
        dfbench data check image-folder:my-pictures/ --near-duplicates --json -
    """
    run_check(
        opened(data),
        max_bad=max_bad,
        max_images=max_images,
        near_duplicates=near_duplicates,
        state=state,
        json_file=json_file,
        threads=threads,
    )


def run_check(
    dataset: Dataset,
    *,
    max_bad: float = MAX_BAD,
    max_images: int | None = None,
    near_duplicates: bool = False,
    state: Path | None = None,
    json_file: Path | None = None,
    threads: int | None = None,
) -> None:
    """Check a dataset, print and write the findings, and exit with status 2 where it is not fit for use."""
    from deepfake_core.data.check import check as examine

    with fact_cache(state) as cache:
        report = examine(
            dataset, max_bad=max_bad, max_images=max_images, near=near_duplicates, cache=cache, threads=threads
        )
    _show(report, json_file)
    write_json(json_file, report.to_dict())
    if not report.fit:
        raise typer.Exit(ExitStatus.REJECTED)


def _show(report: CheckReport, json_file: Path | None) -> None:
    echo = echo_beside(json_file)
    rows: list[tuple[str, ...]] = [("source", "label", "split", "samples", "groups", "unreadable")]
    for cell in report.cells:
        counts = (f"{count:,}" for count in (cell.samples, cell.groups, cell.unreadable))
        rows.append((cell.source, cell.label, cell.split or "-", *counts))
    echo(columns(rows, elsewhere="--json FILE"))
    echo(printable(report.labels))
    for finding in report.findings:
        typer.echo(f"{finding.level}: {printable(str(finding))}", err=True)
    persons = f", {report.identities:,} persons named" if report.identities else ""
    examined = f"{report.examined:,} of {report.samples:,} files looked into{persons}"
    echo(f"{examined}: {'fit for use' if report.fit else 'not fit for use'}")

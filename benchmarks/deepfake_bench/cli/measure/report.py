"""``dfbench report``: show reports of ``dfbench run`` as tables, as a page, or as CSV."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli.output.options import Reports, Targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepfake_bench.records.report import Report


def report(
    reports: Reports,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one HTML page, which opens offline, to this file.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one row for each metric, as CSV, to this file.")
    ] = None,
    targets: Targets = False,
) -> None:
    """Show reports as tables, as one HTML page, or as CSV.

    The page holds the documented targets with their verdicts, speed, accuracy beside latency, ROC, DET and reliability
    diagrams, robustness, and the machine.

    Examples:
        dfbench report report.json
        dfbench report before.json after.json --html reports.html
    """
    from deepfake_bench.cli.output.tables import show_report

    found = read_reports(reports)
    if html is None and csv is None:
        for item in found:
            show_report(item, sys.stdout, targets=targets)
    write_views(found, html, csv)


def read_reports(paths: list[Path]) -> list[Report]:
    """Read files that ``dfbench run --json`` wrote.

    Raises:
        DeepfakeError: A file cannot be read or holds no report.
    """
    from deepfake_bench.records.report import parse_report, read_report

    return [parse_report(read_report(path), path) for path in paths]


def write_views(
    reports: list[Report], html: Path | None, csv: Path | None, echo: Callable[[str], None] = typer.echo
) -> None:
    """Write the page and the CSV file that were asked for, each whole or not at all.

    Args:
        reports: Reports to show.
        html: File for the page, if any.
        csv: File for the figures, if any.
        echo: Prints which files were written.
    """
    from deepfake_registry.files import write_atomic

    if html is not None:
        from deepfake_bench.report.html import page as report_page

        write_atomic(html, report_page.html(reports))
        echo(f"wrote {html}")
    if csv is not None:
        from deepfake_bench.report.csv_export import csv_text

        write_atomic(csv, csv_text(reports))
        echo(f"wrote {csv}")

"""``dfbench report``, ``dfbench compare`` and ``dfbench leaderboard``: the reports of ``dfbench run``, used."""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.listing import Format
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_bench.records.report import Report
    from deepfake_bench.report.comparison import Comparison
    from deepfake_bench.report.leaderboard import Board

EXIT_REGRESSION = 1

Reports = Annotated[
    list[Path], typer.Argument(metavar="REPORT.json…", help="What dfbench run --json wrote.", show_default=False)
]


class BoardFormat(enum.StrEnum):
    """How a leaderboard is printed."""

    table = "table"
    markdown = "markdown"
    html = "html"
    json = "json"


def report(
    reports: Reports,
    html: Annotated[Path | None, typer.Option(help="File for one page that opens offline.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File for one row for each metric.")] = None,
) -> None:
    """Show reports: as tables, as one HTML page, or as CSV.

    The page holds the documented targets with their verdicts, speed, accuracy beside latency, ROC, DET and reliability
    diagrams, robustness, and the machine.
    """
    from deepfake_bench.cli.output.tables import show_report

    found = _read(reports)
    if html is None and csv is None:
        for item in found:
            show_report(item)
    write_views(found, html, csv)


def write_views(reports: list[Report], html: Path | None, csv: Path | None) -> None:
    """Write the page and the CSV file that were asked for, each whole or not at all."""
    from deepfake_registry.files import write_atomic

    if html is not None:
        from deepfake_bench.report.html import page as report_page

        write_atomic(html, report_page.html(reports))
        typer.echo(f"wrote {html}")
    if csv is not None:
        from deepfake_bench.report.figures import csv_text

        write_atomic(csv, csv_text(reports))
        typer.echo(f"wrote {csv}")


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE.json", help="What to compare with.", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="AFTER.json", help="The report in question.", show_default=False)],
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Least change of a time, rate or size that counts, as a share; by default 0.05 for what was measured "
            "in turns, 0.25 between two runs of several rounds, 1 for times of one process and 0.5 for its memory.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show figures without a change as well.")] = False,
    output: Annotated[Format, typer.Option("--format", help="How the outcome is printed.")] = Format.table,
) -> None:
    """Tell changes from noise between two reports.

    Measurements are paired by detector, backend, device, threads, scenario and dataset. To find a change of a few per
    cent, measure both environments in turns, in many short rounds: dfbench run --repeat 20 --seconds 0.5 --beside
    PYTHON. Exit status: 0, 1 when something is slower or worse, or 2 when nothing could be compared.
    """
    from deepfake_bench.report.comparison import REGRESSIONS
    from deepfake_bench.report.comparison import compare as compare_reports
    from deepfake_core.errors import DeepfakeError

    first, second = _read([before, after])
    found = compare_reports(first, second, threshold)
    if output is Format.json:
        typer.echo(json.dumps([_plain(item) for item in found], indent=2))
    else:
        _show(found, everything=everything)
    if all(item.verdict == "not comparable" for item in found):
        why = found[0].reason if found else "neither holds a figure that means something"
        raise DeepfakeError(f"{before} and {after}: nothing can be compared ({why})")
    if any(item.verdict in REGRESSIONS for item in found):
        raise typer.Exit(EXIT_REGRESSION)


def leaderboard(
    reports: Reports,
    metric: Annotated[str, typer.Option(help="What is ranked: a metric of the reports.")] = "auc",
    output: Annotated[BoardFormat, typer.Option("--format", help="How it is printed.")] = BoardFormat.table,
) -> None:
    """Rank detectors over many reports: the best row of each detector and backend.

    Accuracy is ranked where the data are the same to the byte, speed where machine, device and threads are the same.
    Untrained weights are listed without a rank.
    """
    from deepfake_bench.report.leaderboard import boards, markdown

    found = boards(_read(reports), metric)
    if output is BoardFormat.json:
        typer.echo(json.dumps([_board(item) for item in found], indent=2))
    elif output is BoardFormat.markdown:
        typer.echo(markdown(found))
    elif output is BoardFormat.html:
        from deepfake_bench.report.html.page import leaderboard_html

        typer.echo(leaderboard_html(found), nl=False)
    else:
        _print_boards(found)


def _read(paths: list[Path]) -> list[Report]:
    from deepfake_bench.records.report import parse_report, read_report

    return [parse_report(read_report(path), path) for path in paths]


def _plain(item: Comparison) -> dict[str, Any]:
    row = item.before
    return {
        "detector": row.detector,
        "backend": row.backend,
        "device": row.device,
        "threads": row.threads,
        "scenario": row.scenario,
        "dataset": row.dataset.name if row.dataset else None,
        "source": item.source,
        "variant": item.variant,
        "metric": item.metric,
        "before": item.values[0],
        "after": item.values[1],
        "change": item.change.model_dump(),
        "verdict": item.verdict,
        "reason": item.reason,
    }


def _show(found: list[Comparison], *, everything: bool) -> None:
    from rich.text import Text

    from deepfake_bench.cli.output.tables import plain_table
    from deepfake_bench.cli.output.writers import wide_console
    from deepfake_bench.report.comparison import BY_ITSELF
    from deepfake_bench.report.figures import short, who

    styles = {"slower": "bold red", "worse": "bold red", "faster": "green", "better": "green", "not comparable": "dim"}
    console = wide_console(sys.stdout, least=140)
    table = plain_table("", ("measurement", "figure"), ("before", "after", "change"))
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", overflow="fold")
    for item in found:
        if everything or item.verdict != "no change":
            where = f", {item.before.dataset.name}" if item.before.dataset else ""
            cells = (
                f"{who(item.before)}: {item.before.scenario}{where}",
                " ".join(filter(None, (item.metric, item.source, item.variant))),
                *map(short, item.values),
                _change(item),
                item.verdict,
                item.reason,
            )
            table.add_row(*(Text(printable(cell), style=styles.get(item.verdict, "")) for cell in cells))
    if table.row_count:
        console.print(table)
    counts = dict.fromkeys(item.verdict for item in found)
    said = ", ".join(f"{sum(item.verdict == verdict for item in found)} {verdict}" for verdict in counts)
    console.print(f"{len(found)} figures: {said}" if found else "no figure in common", markup=False)
    if count := sum(item.reason == BY_ITSELF for item in found):
        console.print(f"{count} without a change differ, but {BY_ITSELF}", markup=False)


def _change(item: Comparison) -> str:
    """``+8.1 % [+6.0, +10.2]`` of times, rates and sizes; ``+0.012 [-0.001, +0.025]`` of accuracies.

    An interval that reaches beyond a hundred times the figure says nothing, and is not shown.
    """
    factor, form, unit = (1.0, "+.3f", "") if item.source else (100.0, "+.1f", " %")
    value, low, high = (item.change.value, item.change.low, item.change.high)
    if value is None:
        return "–"
    ends = "" if low is None or high is None or high > 100 else f" [{low * factor:{form}}, {high * factor:{form}}]"
    return f"{value * factor:{form}}{unit}{ends}"


def _board(board: Board) -> dict[str, Any]:
    return {
        "title": board.title,
        "metric": board.metric,
        "places": [
            {
                "rank": place.rank,
                "detector": place.row.detector,
                "version": place.row.version,
                "weights": place.row.weights,
                "backend": place.row.backend,
                "device": place.row.device,
                "threads": place.row.threads,
                **place.figure.model_dump(),
                "against_first": place.against_first,
                "created": place.created,
            }
            for place in board.places
        ],
    }


def _print_boards(found: list[Board]) -> None:
    from rich.text import Text

    from deepfake_bench.cli.output.tables import plain_table
    from deepfake_bench.cli.output.writers import wide_console
    from deepfake_bench.report.leaderboard import cells, header

    console = wide_console(sys.stdout, least=140)
    for board in found:
        table = plain_table(printable(board.title), header(board), ())
        for row in cells(board):
            table.add_row(*(Text(printable(cell)) for cell in row))
        console.print(table)

"""``dfbench compare``: tell changes from noise between two reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.measure.report import read_reports
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.options import Format, Output
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_bench.report.comparison import Comparison


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE.json", help="Report of reference.", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="AFTER.json", help="Report to compare with it.", show_default=False)],
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Smallest relative change of a time, rate or size that counts; by default 0.05 for measurements made "
            "in turns, 0.25 between two runs of several rounds, 1 for times of one process and 0.5 for its memory.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also show figures that did not change.")] = False,
    output: Output = Format.table,
) -> None:
    """Tell changes from noise between two reports.

    Measurements are paired by detector, backend, device, threads, scenario and dataset. To find a change of a few per
    cent, measure both environments in turns, in many short rounds: dfbench run --repeat 20 --seconds 0.5 --beside
    PYTHON. Exit status: 0; 1 when a figure is slower or worse; 2 when nothing can be compared.
    """
    from deepfake_bench.report.comparison import REGRESSIONS
    from deepfake_bench.report.comparison import compare as compare_reports
    from deepfake_core.errors import DeepfakeError

    first, second = read_reports([before, after])
    found = compare_reports(first, second, threshold)
    if output is Format.json:
        typer.echo(json.dumps([_plain(item) for item in found], indent=2))
    else:
        _show(found, everything=everything)
    if all(item.verdict == "not comparable" for item in found):
        why = found[0].reason if found else "neither holds a figure that means something"
        raise DeepfakeError(f"{before} and {after}: nothing can be compared ({why})")
    if any(item.verdict in REGRESSIONS for item in found):
        raise typer.Exit(ExitStatus.FAILED)


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
    from deepfake_bench.report.labels import short, who

    styles = {"slower": "bold red", "worse": "bold red", "faster": "green", "better": "green", "not comparable": "dim"}
    console = wide_console(sys.stdout, least=140)
    table = plain_table("", ("measurement", "figure"), ("before", "after", "change"))
    table.add_column("verdict", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for item in found:
        if everything or item.verdict != "no change":
            where = f", {item.before.dataset.name}" if item.before.dataset else ""
            cells = (
                f"{who(item.before)}: {item.before.scenario}{where}",
                " ".join(filter(None, (item.metric, item.source, item.variant))),
                *map(short, item.values),
                change_text(item),
                item.verdict,
                item.reason,
            )
            table.add_row(*(Text(printable(cell), style=styles.get(item.verdict, "")) for cell in cells))
    if table.row_count:
        console.print(table)
    counts = dict.fromkeys(item.verdict for item in found)
    verdicts = ", ".join(f"{sum(item.verdict == verdict for item in found)} {verdict}" for verdict in counts)
    console.print(f"{len(found)} figures: {verdicts}" if found else "no figure in common", markup=False)
    if count := sum(item.reason == BY_ITSELF for item in found):
        console.print(f"{count} without a change differ, but {BY_ITSELF}", markup=False)


def change_text(item: Comparison) -> str:
    """``+8.1 % [+6.0, +10.2]`` for times, rates and sizes; ``+0.012 [-0.001, +0.025]`` for accuracies.

    An interval that reaches beyond a hundred times the figure says nothing, and is not shown.
    """
    factor, form, unit = (1.0, "+.3f", "") if item.source else (100.0, "+.1f", " %")
    value, low, high = (item.change.value, item.change.low, item.change.high)
    if value is None:
        return "–"
    ends = "" if low is None or high is None or high > 100 else f" [{low * factor:{form}}, {high * factor:{form}}]"
    return f"{value * factor:{form}}{unit}{ends}"

"""A report as tables in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from deepfake_bench.cli.text import printable
from deepfake_bench.cli.writers import wide_console
from deepfake_bench.report import Estimate, Measurement, Report, SourceAccuracy, TargetCheck
from deepfake_bench.scenarios import SCENARIOS

if TYPE_CHECKING:
    from rich.console import Console

ACCURACY = {
    "auc": "AUC",
    "average_precision": "AP",
    "eer": "EER",
    "tpr_at_1pct_fpr": "TPR@1%",
    "tpr_at_5pct_fpr": "TPR@5%",
    "balanced_accuracy": "bal. acc.",
    "fakes_found": "fakes found",
    "ece": "ECE",
    "brier": "Brier",
}
VERDICT_STYLES = {"met": "green", "missed": "bold red", "not measurable here": "dim"}


def show_report(report: Report) -> None:
    """Print the report to standard output: machine, speed, accuracy, targets, and what was not measured."""
    console = wide_console(sys.stdout)
    machine = report.machine
    console.print(f"{machine.cpu}, {machine.allowance} of {machine.cores} CPUs, Python {machine.python}", markup=False)
    speed = [row for row in report.measurements if row.status == "measured" and not row.sources]
    if speed:
        console.print(_speed(speed))
    for row in report.measurements:
        if row.sources:
            _show_accuracy(console, row)
    checks = [(row, check) for row in report.measurements for check in row.targets]
    if checks:
        console.print(_targets(checks))
    for row in report.measurements:
        if row.status != "measured":
            where = f" on {row.dataset.name}" if row.dataset else ""
            what = f"{printable(row.detector)} ({row.backend}), {row.scenario}{where}"
            console.print(f"{row.status}: {what}: {printable(row.reason)}", markup=False)


def _table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, title=f"\n{title}", title_justify="left")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _speed(rows: list[Measurement]) -> Table:
    table = _table(
        "speed", ("detector", "weights", "backend", "scenario", "headline"), ("value", "p90", "p99", "peak MB")
    )
    for row in rows:
        headline = SCENARIOS[row.scenario].headline
        stem = headline.removesuffix("_p50")
        tail = [_number(row.metrics.get(f"{stem}_p{rank}"), 1) for rank in (90, 99)]
        table.add_row(
            *_who(row),
            row.scenario,
            headline,
            _number(row.metrics[headline], 1),
            *tail,
            _number(row.metrics.get("peak_rss_mb"), 0),
        )
    return table


def _show_accuracy(console: Console, row: Measurement) -> None:
    assert row.dataset is not None, "accuracy is measured on a dataset"
    name, weights, backend = _who(row)
    title = f"accuracy of {name} ({weights}, {backend}) on {printable(row.dataset.name)}"
    table = _table(title, ("source", "real/fake"), (*ACCURACY.values(), "no face", "error"))
    for source in row.sources:
        table.add_row(*_accuracy_cells(source))
    means = [_number(row.metrics.get(key), 3) for key in ACCURACY]
    table.add_row(f"mean over {len(row.sources)} sources", "", *means, "", "", style="bold")
    console.print(table)
    if row.dataset.note:
        console.print(f"  {row.dataset.name}: {row.dataset.note}", markup=False, style="dim")


def _accuracy_cells(source: SourceAccuracy) -> list[Text]:
    shown = [_estimate(source.metrics.get(key)) for key in ACCURACY]
    rates = [f"{source.no_face_rate:.1%}", f"{source.error_rate:.1%}"]
    return [Text(cell) for cell in (printable(source.source), f"{source.real}/{source.fake}", *shown, *rates)]


def _targets(checks: list[tuple[Measurement, TargetCheck]]) -> Table:
    table = _table("documented targets", ("detector", "weights", "backend", "target"), ("measured",))
    table.add_column("verdict", no_wrap=True)
    table.add_column("why not, or where it is documented", overflow="fold")
    seen = set()
    for row, check in checks:
        cells = (
            *_who(row),
            f"{check.metric} {check.comparison} {check.target:g}",
            _number(check.measured, 2),
            check.verdict,
            printable(check.reason or f"{check.source} ({check.condition})" if check.condition else check.source),
        )
        if cells not in seen:
            seen.add(cells)
            table.add_row(*(Text(cell, style=VERDICT_STYLES.get(cell, "")) for cell in cells))
    return table


def _who(row: Measurement) -> tuple[str, str, str]:
    name = Path(row.detector).name or row.detector
    return printable(name), row.weights, f"{row.backend} {row.device}".strip()


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"

"""Tables of a report in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from rich.table import Table
from rich.text import Text

from deepfake_bench.cli.output.writers import wide_console
from deepfake_bench.printable import printable
from deepfake_bench.records.report import Estimate, Measurement, Report, SourceAccuracy, TargetCheck
from deepfake_bench.records.targets import board, documented
from deepfake_bench.report.figures import mean_estimate
from deepfake_bench.report.labels import ACCURACY, interval, number, short, short_name
from deepfake_bench.scenarios.catalogue import SCENARIOS

if TYPE_CHECKING:
    from rich.console import Console

_ACCURACY = tuple(name for name in ACCURACY if name != "reals_passed")
MOST_COLUMNS = 12
"""Largest number of variants that are shown as columns; more of them are shown as rows."""
MOST_INTERVALS = 5
"""Largest number of variants that are shown as columns with their intervals."""
VERDICT_STYLES = {"met": "green", "missed": "bold red", "not measurable here": "dim"}


def show_report(report: Report, stream: TextIO | None = None) -> None:
    """Print a report: machine, speed, accuracy, targets, and what was not measured.

    Args:
        report: Report to print.
        stream: Stream to print to; by default standard output.
    """
    console = wide_console(stream or sys.stdout, least=140)
    machine = report.machine
    console.print(
        f"{printable(machine.processor)}, {machine.allowance} of {machine.cores} CPUs, Python {machine.python}",
        markup=False,
    )
    speed = [row for row in report.measurements if row.status == "measured" and not row.sources]
    if speed:
        console.print(_speed(speed))
    for row in report.measurements:
        if row.sources:
            show = _show_variants if row.sources[0].variant else _show_accuracy
            show(console, row)
    checks = board(report.measurements)
    if checks:
        console.print(_targets(checks))
    for row in report.measurements:
        if row.status != "measured":
            where = f" on {row.dataset.name}" if row.dataset else ""
            what = f"{printable(row.detector)} ({row.backend}), {row.scenario}{where}"
            console.print(f"{row.status}: {what}: {printable(row.reason)}", markup=False)


def plain_table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    """Make a table without lines: columns aligned to the left, then columns of numbers."""
    table = Table(box=None, header_style="bold", pad_edge=False, title=f"\n{title}", title_justify="left")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _speed(rows: list[Measurement]) -> Table:
    left = ("detector", "weights", "backend", "scenario", "metric")
    table = plain_table("speed", left, ("value", "p90", "p99", "peak MB"))
    for row in rows:
        scenario = SCENARIOS.get(row.scenario)  # a report may be of another version
        also = [metric for metric in scenario.also if metric in row.metrics] if scenario else []
        for metric in (scenario.headline, *also) if scenario else row.metrics:
            stem = metric.removesuffix("_p50")
            values = (metric, f"{stem}_p90", f"{stem}_p99", "peak_rss_mb")
            table.add_row(*_who(row), row.scenario, metric, *(short(row.metrics.get(name)) for name in values))
    return table


def _show_accuracy(console: Console, row: Measurement) -> None:
    assert row.dataset is not None, "accuracy is measured on a dataset"
    name, weights, backend = _who(row)
    title = f"accuracy of {name} ({weights}, {backend}) on {printable(row.dataset.name)}"
    table = plain_table(title, ("source", "real/fake"), (*map(ACCURACY.__getitem__, _ACCURACY), "no face", "error"))
    for source in row.sources:
        table.add_row(*_accuracy_cells(source))
    for prefix, title in (("", "mean over sources"), ("videos_", "mean over sources (videos)")):
        if not prefix or f"{prefix}auc" in row.metrics:
            means = [number(row.metrics.get(prefix + key)) for key in _ACCURACY]
            table.add_row(title, "", *means, "", "", style="bold")
    console.print(table)
    _show_note(console, row)


def _show_variants(console: Console, row: Measurement) -> None:
    """Show the AUC of each source by variant: what was done to its images, or what a probe was given."""
    assert row.dataset is not None, "variants are measured on a dataset"
    name, weights, backend = _who(row)
    variants = list(dict.fromkeys(source.variant for source in row.sources))
    sources = list(dict.fromkeys(source.source for source in row.sources))
    title = f"{row.scenario} of {name} ({weights}, {backend}) on {printable(row.dataset.name)}: AUC"
    aucs = {(item.source, item.variant): item.metrics["auc"] for item in row.sources}
    means = {variant: mean_estimate(row, "auc", variant) for variant in variants}
    if len(variants) > MOST_COLUMNS:
        table = plain_table(title, ("variant",), [*map(printable, sources), "mean over sources"])
        for variant in variants:
            found = (*(aucs[source, variant] for source in sources), means[variant])
            table.add_row(variant, *(Text(number(item.value)) for item in found))
    else:
        with_ends = len(variants) <= MOST_INTERVALS
        counts = {item.source: f"{item.real}/{item.fake}" for item in row.sources}
        table = plain_table(title, ("source", "real/fake"), variants)
        for source in sources:
            cells = [aucs[source, variant] for variant in variants]
            table.add_row(Text(printable(source)), counts[source], *_estimates(cells, with_ends=with_ends))
        shown = _estimates(means.values(), with_ends=with_ends)
        table.add_row("mean over sources", "", *shown, style="bold")
    console.print(table)
    _show_note(console, row)


def _show_note(console: Console, row: Measurement) -> None:
    if row.dataset is not None and (said := "; ".join(filter(None, (row.dataset.note, row.dataset.labels)))):
        console.print(f"  {printable(f'{row.dataset.name}: {said}')}", markup=False, style="dim")


def _accuracy_cells(source: SourceAccuracy) -> list[Text]:
    """Return the cells of one source: the AUC with its interval; the other intervals are in the report file."""
    shown = [number(source.metrics[key].value if key in source.metrics else None) for key in _ACCURACY]
    if "auc" in source.metrics:
        shown[0] = interval(source.metrics["auc"])
    rates = [f"{source.no_face_rate:.1%}", f"{source.error_rate:.1%}"]
    return [Text(cell) for cell in (printable(source.source), f"{source.real}/{source.fake}", *shown, *rates)]


def _targets(lines: list[tuple[Measurement, TargetCheck]]) -> Table:
    table = plain_table("documented targets", ("detector", "weights", "backend", "target"), ("measured",))
    table.add_column("verdict", no_wrap=True)
    table.add_column("documented", overflow="fold")
    table.add_column("reason", overflow="fold")
    for row, check in lines:
        cells = (
            *_who(row),
            f"{check.metric} {check.comparison} {check.target:.8g}",
            short(check.measured),
            check.verdict,
            printable(documented(check)),
            printable(check.reason),
        )
        table.add_row(*(Text(cell, style=VERDICT_STYLES.get(cell, "")) for cell in cells))
    return table


def _who(row: Measurement) -> tuple[str, str, str]:
    return printable(short_name(row.detector)), row.weights, f"{row.backend} {row.device}".strip()


def _estimates(items: Iterable[Estimate], *, with_ends: bool) -> list[Text]:
    return [Text(interval(item) if with_ends else number(item.value)) for item in items]

"""Tables of a report in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

import typer

from deepfake_bench.cli.output.text import Rows, Styles, fit, fits, note, terminal_width, wrapped
from deepfake_bench.printable import printable
from deepfake_bench.records.report import SEEN, Measurement, Report, TargetCheck
from deepfake_bench.records.targets import board, documented
from deepfake_bench.records.times import others_line, unknown_line
from deepfake_bench.report.figures import MEAN, mean_estimate
from deepfake_bench.report.labels import ACCURACY, interval, number, short, short_name
from deepfake_bench.report.order import in_reading_order
from deepfake_bench.report.summary import conclusions, target_counts
from deepfake_bench.runner.plan import LEFT_OUT
from deepfake_bench.scenarios.catalogue import SCENARIOS

STYLES: Styles = {
    "met": {"fg": "green"},
    "missed": {"fg": "red", "bold": True},
    "not judged": {"fg": "yellow"},
    MEAN: {"bold": True},
}
SPEED = ("detector", "weights", "backend", "scenario", "metric", "value", "p90", "p99", "peak MB")
JUDGED = ("detector", "weights", "backend", "target", "measured", "verdict", "documented")
OPEN = ("detector", "target", "documented", "reason")


def show_report(report: Report, stream: TextIO | None = None, *, targets: bool = False) -> None:
    """Print a report: machine, speed, accuracy, targets, what was not measured, and what follows from it.

    Args:
        report: Report to print.
        stream: Stream to print to; by default standard output.
        targets: Whether to list all documented targets, and untrained detectors one by one; by default, they are
            counted, and named in one line.
    """
    page = _Page(stream or sys.stdout)
    rows = in_reading_order(report.measurements)
    machine = report.machine
    page.say(f"{machine.processor}, {machine.allowance} of {machine.cores} CPUs, Python {machine.python}")
    speed = [row for row in rows if row.status == "measured" and not row.sources]
    if speed:
        page.table("speed", [SPEED, *_speed(speed)])
        page.say(others_line(speed) or unknown_line(speed), fg="yellow")
    for row in rows:
        if row.sources:
            page.table(*_variants(row) if row.sources[0].variant else _accuracy(row))
            if row.dataset is not None and (said := "; ".join(filter(None, (row.dataset.note, row.dataset.labels)))):
                page.say(f"{row.dataset.name}: {said}", dim=True)
            if any(source.seen_groups for source in row.sources):
                page.say(f"warning: {SEEN}: {row.conditions.get(SEEN, '')}", fg="yellow")
    checks = board(rows)
    if checks and targets:
        parts = ("documented targets", JUDGED, _judged(checks)), ("targets not measurable here", OPEN, _open(checks))
        for title, header, found in parts:
            if lines := list(found):
                page.table(title, [header, *lines])
    page.close()
    for line in _not_measured(rows, everything=targets):
        page.say(line)
    if checks and not targets:
        page.say(f"\ndocumented targets: {target_counts([check for _, check in checks])}; see --targets")
    page.say("\n" + "\n".join(f"{heading}: {line}" for heading, line in conclusions(report)))


def outcome(row: Measurement) -> str:
    """Return what came of a measurement in a line: its main figures, or why there are none."""
    said = f"{short_name(row.detector)}, {row.scenario}{f' on {row.dataset.name}' if row.dataset else ''}: "
    scenario = SCENARIOS.get(row.scenario)
    if row.status != "measured" or scenario is None:
        return printable(said + (f"{row.status}: {row.reason}" if row.reason else row.status))
    figures = (name for name in (scenario.headline, *scenario.also) if name in row.metrics)
    return printable(said + ", ".join(f"{name} {short(row.metrics[name])}" for name in figures))


class _Page:
    """Prints tables, and says once which columns had no room in some of them."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.left_out: dict[str, None] = {}  # a set that keeps the order
        self.needed = 0

    def say(self, text: str, **style: str | bool) -> None:
        """Print lines of text, broken at spaces; an empty text is left out."""
        for line in text.split("\n") if text else ():
            for part in wrapped(printable(line), terminal_width()):
                typer.echo(typer.style(part, **style) if style else part, file=self.stream)  # type: ignore[arg-type]

    def table(self, title: str, rows: Rows) -> None:
        """Print a table below its title."""
        fitted = fit(rows, terminal_width(), STYLES)
        self.left_out |= dict.fromkeys(fitted.left_out)
        self.needed = max(self.needed, fitted.needed if fitted.left_out else 0)
        self.say(f"\n{title}", italic=True)
        typer.echo(fitted.text, file=self.stream)

    def close(self) -> None:
        """Say which columns had no room."""
        if self.left_out:
            typer.echo("\n" + note(self.left_out, self.needed, "--json FILE"), file=self.stream)


def _speed(rows: Sequence[Measurement]) -> Iterator[Sequence[str]]:
    for row in rows:
        scenario = SCENARIOS.get(row.scenario)  # a report may be of another version
        also = [metric for metric in scenario.also if metric in row.metrics] if scenario else []
        for metric in (scenario.headline, *also) if scenario else row.metrics:
            stem = metric.removesuffix("_p50")
            values = (metric, f"{stem}_p90", f"{stem}_p99", "peak_rss_mb")
            yield *_who(row), row.scenario, metric, *(short(row.metrics.get(name)) for name in values)


def _accuracy(row: Measurement) -> tuple[str, Rows]:
    """Return the title and the rows of an accuracy: AUC with intervals; all other intervals are in the report."""
    assert row.dataset is not None, "accuracy is measured on a dataset"
    rows: list[Sequence[str]] = [("source", "real/fake", *ACCURACY.values(), "no face", "error")]
    for source in row.sources:
        shown = [number(source.metrics[key].value if key in source.metrics else None) for key in ACCURACY]
        if "auc" in source.metrics:
            shown[0] = interval(source.metrics["auc"])
        rates = f"{source.no_face_rate:.1%}", f"{source.error_rate:.1%}"
        rows.append((source.title, f"{source.real}/{source.fake}", *shown, *rates))
    for prefix, title in (("", MEAN), ("videos_", f"{MEAN} (videos)")):
        if f"{prefix}auc" in row.metrics if prefix else len(row.sources) > 1:
            rows.append((title, "", *(number(row.metrics.get(prefix + key)) for key in ACCURACY), "", ""))
    return f"accuracy of {_title(row)}", rows


def _variants(row: Measurement) -> tuple[str, Rows]:
    """Return the title and the rows of AUCs by source and variant: changed images, or what a probe was given.

    Variants are the columns where all of them have room with their intervals, otherwise sources are.
    """
    variants = list(dict.fromkeys(item.variant for item in row.sources))
    sources = {item.source: f"{item.real}/{item.fake}" for item in row.sources}
    aucs = {(item.source, item.variant): item.metrics["auc"] for item in row.sources}
    lines = {name: [interval(aucs[name, variant]) for variant in variants] for name in sources}
    if len(sources) > 1:
        lines[MEAN] = [interval(mean_estimate(row, "auc", variant)) for variant in variants]
    rows: list[Sequence[str]] = [("source", "real/fake", *variants)]
    rows += [(name, sources.get(name, ""), *cells) for name, cells in lines.items()]
    if not fits(rows, terminal_width()):
        headings = (f"{name} {sources[name]}" if name in sources else name for name in lines)
        rows = [("variant", *headings), *zip(variants, *lines.values(), strict=True)]
    return f"{row.scenario} of {_title(row)}: AUC [95 %]", rows


def _judged(checks: Sequence[tuple[Measurement, TargetCheck]]) -> Iterator[Sequence[str]]:
    for row, check in checks:
        if check.verdict != "not measurable here":
            yield *_who(row), _bound(check), short(check.measured), check.verdict, documented(check)


def _open(checks: Sequence[tuple[Measurement, TargetCheck]]) -> Iterator[Sequence[str]]:
    for row, check in checks:
        if check.verdict == "not measurable here":
            yield short_name(row.detector), _bound(check), documented(check), check.reason


def _bound(check: TargetCheck) -> str:
    return f"{check.metric} {check.comparison} {check.target:.8g}"


def _not_measured(rows: Sequence[Measurement], *, everything: bool) -> Iterator[str]:
    """Yield what was not measured, with the reason; untrained detectors share a line, unless everything is wanted.

    What was no part of the run is among the targets.
    """
    untrained: dict[str, dict[str, None]] = {}
    for row in rows:
        where = f" on {row.dataset.name}" if row.dataset else ""
        if row.status == "skipped" and row.weights == "untrained" and not everything:
            untrained.setdefault(row.scenario, {})[short_name(row.detector)] = None
        elif row.status != "measured" and not row.reason.startswith(LEFT_OUT):
            yield f"{row.status}: {row.detector} ({row.backend}), {row.scenario}{where}: {row.reason}"
    for scenario, names in untrained.items():
        yield f"skipped: {scenario} of {', '.join(names)}: without trained weights, scores mean nothing"


def _who(row: Measurement) -> tuple[str, str, str]:
    return short_name(row.detector), row.weights, f"{row.backend} {row.device}".strip()


def _title(row: Measurement) -> str:
    name, weights, backend = _who(row)
    return f"{name} ({weights}, {backend}) on {row.dataset.name if row.dataset else ''}"

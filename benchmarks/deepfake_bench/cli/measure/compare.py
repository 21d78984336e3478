"""``dfbench compare``: tell changes from noise between two reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.measure.report import read_reports
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.options import Format, Output
from deepfake_bench.cli.output.text import Styles
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_bench.report.comparison import Comparison

STYLES: Styles = {
    **{verdict: {"fg": "red", "bold": True} for verdict in ("slower", "worse")},
    **{verdict: {"fg": "green"} for verdict in ("faster", "better")},
    "not comparable": {"dim": True},
}

OTHERS = (
    "to compare detectors: dfbench leaderboard REPORT.json…, or picture by picture: dfbench scores versus A.csv B.csv"
)


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE.json", help="Report of reference.", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="AFTER.json", help="Report to compare with it.", show_default=False)],
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="CHANGE",
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

    Examples:
        dfbench compare before.json after.json
    """
    from deepfake_bench.report.comparison import REGRESSIONS
    from deepfake_bench.report.comparison import compare as compare_reports
    from deepfake_core.discovery.plugins import detectors
    from deepfake_core.errors import DeepfakeError

    if {str(before), str(after)} & set(detectors()) and not (before.exists() and after.exists()):
        raise DeepfakeError(f"{before} and {after}: dfbench compare takes two reports of the same detectors; {OTHERS}")
    first, second = read_reports([before, after])
    found = compare_reports(first, second, threshold)
    if output is Format.json:
        typer.echo(json.dumps([_plain(item) for item in found], indent=2))
    else:
        _show(found, everything=everything)
    if all(item.verdict == "not comparable" for item in found):
        why = found[0].reason if found else "neither holds a figure that means something"
        measured = [{row.detector for row in report.measurements} for report in (first, second)]
        if all(measured) and not set.intersection(*measured):
            why = f"{' and '.join(map(_listed, measured))} are different detectors; {OTHERS}"
        raise DeepfakeError(f"{before} and {after}: nothing can be compared ({why})")
    if any(item.verdict in REGRESSIONS for item in found):
        raise typer.Exit(ExitStatus.FAILED)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


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
    from deepfake_bench.cli.output.text import ELSEWHERE, columns
    from deepfake_bench.report.comparison import BY_ITSELF
    from deepfake_bench.report.labels import short, who

    shown = [item for item in found if everything or item.verdict != "no change"]
    reasons = list(dict.fromkeys(item.reason for item in shown if item.reason))
    rows: list[tuple[str, ...]] = [("measurement", "figure", "before", "after", "change", "verdict", "why")]
    for item in shown:
        where = f", {item.before.dataset.name}" if item.before.dataset else ""
        rows.append(
            (
                f"{who(item.before)}: {item.before.scenario}{where}",
                " ".join(filter(None, (item.metric, item.source, item.variant))),
                *map(short, item.values),
                change_text(item),
                item.verdict,
                f"({reasons.index(item.reason) + 1})" if item.reason else "",
            )
        )
    if shown:
        typer.echo(columns(rows, styles=STYLES, elsewhere=ELSEWHERE))
    for number, reason in enumerate(reasons, start=1):
        typer.echo(f"({number}) {printable(reason)}")
    counts = dict.fromkeys(item.verdict for item in found)
    verdicts = ", ".join(f"{sum(item.verdict == verdict for item in found)} {verdict}" for verdict in counts)
    typer.echo(f"{len(found)} figures: {verdicts}" if found else "no figure in common")
    if count := sum(item.reason == BY_ITSELF for item in found):
        typer.echo(f"{count} without a change differ, but {BY_ITSELF}")


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

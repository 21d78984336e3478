"""``dfbench scores``: ask the scores that ``dfbench run --out`` wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from deepfake_bench.cli.output.text import columns
from deepfake_bench.printable import printable

app = typer.Typer(
    name="scores",
    help="Compare two detectors, subgroups and sources by the scores that run --out wrote.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Predictions = Annotated[Path, typer.Argument(help="CSV file of predictions.", show_default=False)]
Variant = Annotated[
    str | None, typer.Option(help="Of the pictures, where robustness was measured; by default as they are.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for the findings as JSON.")]


@app.callback()
def options() -> None:
    """Compare two detectors, subgroups and sources by the scores that run --out wrote."""


@app.command()
def versus(first: Predictions, second: Predictions, json_file: JsonFile = None) -> None:
    """Tell whether the second detector ranks better than the first on the same files.

    The difference of their AUCs for each source, its 95 % interval and a p-value: DeLong's test where every file is a
    group of its own, otherwise a bootstrap that draws whole groups.
    """
    from dataclasses import asdict

    from deepfake_bench.records.report import Estimate
    from deepfake_bench.report.figures import interval, number
    from deepfake_bench.report.scores import versus as compare

    found = compare(first, second)
    table: list[tuple[str, ...]] = [
        ("source", "variant", "level", "real/fake", "unscored", "AUC 1st", "AUC 2nd", "difference", "p", "by")
    ]
    for row in found:
        change = row.difference
        table.append(
            (
                *map(printable, (row.source, row.variant or "-", row.level)),
                f"{row.real:,}/{row.fake:,}",
                f"{row.unscored:,}",
                number(row.first),
                number(row.second),
                interval(Estimate(value=change.value, low=change.low, high=change.high), "+.3f"),
                _p_value(change.p_value),
                change.method,
            )
        )
    typer.echo(columns(table))
    if len(found) > 1:
        typer.echo(
            f"{len(found)} comparisons: a p-value below {0.05 / len(found):.2g} counts for 5 % in all (Bonferroni)"
        )
    _write_json(json_file, [asdict(row) for row in found])


@app.command()
def subgroups(
    predictions: Predictions,
    metadata: Annotated[Path, typer.Argument(help="CSV file with a column path, and others.", show_default=False)],
    column: Annotated[str, typer.Option(help="Column of the metadata that divides the files, such as skin_tone.")],
    root: Annotated[Path, typer.Option(help="Folder that paths of the metadata are relative to.")] = Path(),
    threshold: Annotated[float, typer.Option(min=0, max=1, help="P(fake) from which a file is called fake.")] = 0.5,
    variant: Variant = None,
    json_file: JsonFile = None,
) -> None:
    """Show accuracy by a property of the files or persons, with intervals, and the largest gaps."""
    from dataclasses import asdict

    from deepfake_bench.report.figures import interval
    from deepfake_bench.report.scores import SUBGROUP_MEASURES, chosen, gaps, read_scores
    from deepfake_bench.report.scores import subgroups as divide

    judged = chosen(read_scores(predictions), variant, predictions)
    found, left_out = divide(judged, metadata, column, root, threshold)
    for level, rows in found.items():
        table: list[tuple[str, ...]] = [(column, "real/fake", "groups", *SUBGROUP_MEASURES)]
        for row in rows:
            cells = (interval(row.metrics[name]) for name in SUBGROUP_MEASURES)
            table.append((printable(row.source), f"{row.real:,}/{row.fake:,}", f"{row.groups:,}", *cells))
        typer.echo(f"{level}, fake from P(fake) >= {threshold:g}\n{columns(table)}")
        for gap in gaps(rows):
            names = f"{printable(gap.lowest)} to {printable(gap.highest)}"
            typer.echo(f"largest gap of {gap.measure}: {gap.gap:.3f}, {names}")
    if left_out:
        typer.echo(
            f"warning: {left_out:,} of {len(judged):,} files have no {printable(column)} in {metadata}", err=True
        )
    found_json = {
        level: {
            "subgroups": [row.model_dump(mode="json") for row in rows],
            "gaps": [asdict(gap) for gap in gaps(rows)],
        }
        for level, rows in found.items()
    }
    _write_json(json_file, {"column": column, "threshold": threshold, "without": left_out, **found_json})


@app.command()
def cross(predictions: Predictions, variant: Variant = None, json_file: JsonFile = None) -> None:
    """Show the AUC of real files of each source against fakes of each source.

    A detector that does well within sources and badly across them knows the sources, not the fakes.
    """
    from deepfake_bench.report.figures import interval
    from deepfake_bench.report.scores import chosen, crossed, read_scores
    from deepfake_bench.scenarios.accuracy import by_level

    found: dict[str, list[dict[str, Any]]] = {}
    for level, judged in by_level(chosen(read_scores(predictions), variant, predictions)).items():
        cells = crossed(judged)
        fakes = sorted({fake for _, fake in cells})
        table = [
            ("real of \\ fakes of", *map(printable, fakes)),
            *(
                (printable(real), *(interval(cells[real, fake]) for fake in fakes))
                for real in sorted({real for real, _ in cells})
            ),
        ]
        typer.echo(f"{level}: AUC\n{columns(table)}")
        found[level] = [
            {"real": real, "fake": fake, **estimate.model_dump(mode="json")} for (real, fake), estimate in cells.items()
        ]
    _write_json(json_file, found)


def _p_value(value: float) -> str:
    return "–" if math.isnan(value) else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _write_json(path: Path | None, found: dict[str, Any] | Sequence[Any]) -> None:
    if path is None:
        return
    from deepfake_registry.files import write_atomic

    write_atomic(path, json.dumps(_defined(found), indent=2) + "\n")


def _defined(found: Any) -> Any:
    """The same with ``null`` for what is not a number, which JSON does not know."""
    if isinstance(found, dict):
        return {key: _defined(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_defined(value) for value in found]
    return None if isinstance(found, float) and math.isnan(found) else found

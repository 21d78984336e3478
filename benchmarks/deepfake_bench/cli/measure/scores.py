"""``dfbench scores``: statistics over the scores that ``dfbench run --out`` wrote."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from deepfake_bench.cli.commands import App
from deepfake_bench.cli.output.json_file import JsonFile, echo_beside, write_json
from deepfake_bench.cli.output.text import columns
from deepfake_bench.printable import printable

app = App("scores")

Predictions = Annotated[Path, typer.Argument(metavar="SCORES.csv", help="CSV file of scores.", show_default=False)]
Variant = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Variant of the images, in scores of robustness; by default the unchanged images."
    ),
]


@app.callback()
def options() -> None:
    """Compare detectors, subgroups and sources by their scores.

    Scores are the CSV files that dfbench run --out writes.

    Examples:
        dfbench run --detector lite --dataset my-pictures/ --out results/
        dfbench scores versus lite.csv mine.csv
    """


@app.command()
def versus(first: Predictions, second: Predictions, json_file: JsonFile = None) -> None:
    """Tell whether the second of two detectors ranks better.

    Both must have scored the same files. The result is the difference of their AUCs for each source, its 95 % interval
    and a p-value: DeLong's test where every file is a group of its own, otherwise a bootstrap that draws whole groups.

    Examples:
        dfbench scores versus lite.csv mine.csv
    """
    from dataclasses import asdict

    from deepfake_bench.records.report import Estimate
    from deepfake_bench.report.labels import interval, number
    from deepfake_bench.report.scores import versus as compare

    echo = echo_beside(json_file)
    found = compare(first, second)
    for file in (first, second):
        _read(file)  # for its warning
    named = any(row.variant for row in found)
    figures = ("real/fake", "unscored", "AUC 1st", "AUC 2nd", "difference", "p", "method")
    table: list[tuple[str, ...]] = [("source", *(["variant"] if named else []), "level", *figures)]
    for row in found:
        change = row.difference
        table.append(
            (
                row.source,
                *([row.variant] if named else []),
                row.level,
                f"{row.real:,}/{row.fake:,}",
                f"{row.unscored:,}",
                number(row.first),
                number(row.second),
                interval(Estimate(value=change.value, low=change.low, high=change.high), "+.3f"),
                _p_value(change.p_value),
                change.method,
            )
        )
    echo(columns(table, elsewhere="--json FILE"))
    if len(found) > 1:
        echo(f"{len(found)} comparisons: a p-value below {0.05 / len(found):.2g} counts for 5 % in all (Bonferroni)")
    write_json(json_file, _defined([asdict(row) for row in found]))


@app.command()
def subgroups(
    predictions: Predictions,
    metadata: Annotated[
        Path,
        typer.Argument(
            metavar="METADATA.csv", help="CSV file with a column path, and further columns.", show_default=False
        ),
    ],
    column: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column of the metadata that divides the files, such as skin_tone.")
    ],
    root: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder to which paths of the metadata are relative.")
    ] = Path(),
    threshold: Annotated[
        float, typer.Option(metavar="P", min=0, max=1, help="P(fake) at which a file is called fake.")
    ] = 0.5,
    variant: Variant = None,
    json_file: JsonFile = None,
) -> None:
    """Show accuracy by a property of the files or persons.

    The property is a column of a CSV file. Intervals and the largest gaps between subgroups are shown as well.

    Examples:
        dfbench scores subgroups lite.csv people.csv --column skin_tone
    """
    from dataclasses import asdict

    from deepfake_bench.report.labels import interval
    from deepfake_bench.report.scores import SUBGROUP_MEASURES, chosen, gaps
    from deepfake_bench.report.scores import subgroups as divide

    echo = echo_beside(json_file)
    judged = chosen(_read(predictions), variant, predictions)
    found, left_out = divide(judged, metadata, column, root, threshold)
    for level, rows in found.items():
        table: list[tuple[str, ...]] = [(column, "real/fake", "groups", *SUBGROUP_MEASURES)]
        for row in rows:
            cells = (interval(row.metrics[name]) for name in SUBGROUP_MEASURES)
            table.append((printable(row.source), f"{row.real:,}/{row.fake:,}", f"{row.groups:,}", *cells))
        echo(f"{level}, fake from P(fake) >= {threshold:g}\n{columns(table)}")
        for gap in gaps(rows):
            names = f"{printable(gap.lowest)} to {printable(gap.highest)}"
            echo(f"largest gap of {gap.measure}: {gap.gap:.3f}, {names}")
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
    write_json(json_file, _defined({"column": column, "threshold": threshold, "without": left_out, **found_json}))


@app.command()
def cross(predictions: Predictions, variant: Variant = None, json_file: JsonFile = None) -> None:
    """Show the AUC of reals and fakes of different sources.

    The real files of each source are ranked against the fakes of each source.
    A detector that does well within sources and badly across them knows the sources, not the fakes.

    Examples:
        dfbench scores cross lite.csv --json -
    """
    from deepfake_bench.records.predictions import by_level
    from deepfake_bench.report.labels import interval
    from deepfake_bench.report.scores import chosen, crossed

    echo = echo_beside(json_file)
    found: dict[str, list[dict[str, Any]]] = {}
    for level, judged in by_level(chosen(_read(predictions), variant, predictions)).items():
        cells = crossed(judged)
        fakes = sorted({fake for _, fake in cells})
        table = [
            ("real of \\ fakes of", *map(printable, fakes)),
            *(
                (printable(real), *(interval(cells[real, fake]) for fake in fakes))
                for real in sorted({real for real, _ in cells})
            ),
        ]
        echo(f"{level}: AUC\n{columns(table)}")
        found[level] = [
            {"real": real, "fake": fake, **estimate.model_dump(mode="json")} for (real, fake), estimate in cells.items()
        ]
    write_json(json_file, _defined(found))


def _read(file: Path) -> dict[str, Any]:
    """Read scores, and warn if some are of files that trained the detector."""
    from deepfake_bench.records.predictions import read_predictions, seen_files
    from deepfake_bench.records.report import SEEN

    found = read_predictions(file)
    if count := seen_files(found):
        typer.echo(
            f"warning: {file}: {count:,} files are of groups that trained the detector ({SEEN}); it ranks them better "
            "than others",
            err=True,
        )
    return found


def _p_value(value: float) -> str:
    return "–" if math.isnan(value) else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _defined(found: Any) -> Any:
    """Replace numbers that are not a number by ``None``, because JSON has no such value."""
    if isinstance(found, dict):
        return {key: _defined(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_defined(value) for value in found]
    return None if isinstance(found, float) and math.isnan(found) else found

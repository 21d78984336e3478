"""``dfbench data split``: divide a dataset into training, validation and test."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.data.shared import Data, opened
from deepfake_bench.cli.output.text import columns
from deepfake_bench.printable import printable


class By(enum.StrEnum):
    """Unit that is never divided between two splits."""

    identity = "identity"
    group = "group"
    source = "source"


def split(
    data: Data,
    out: Annotated[
        Path, typer.Option(metavar="FILE.csv", help="CSV file to write, which the dataset layout csv reads.")
    ],
    valid: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Share of the samples for validation.")
    ] = 0.15,
    test: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Share of the samples for the test.")
    ] = 0.15,
    by: Annotated[
        By,
        typer.Option(
            help="Unit that is never divided between two splits: all groups that share a person, a single group, or a "
            "whole source."
        ),
    ] = By.identity,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed for the division.")] = 0,
    ignore_splits: Annotated[
        bool, typer.Option("--ignore-splits", help="Divide the samples anew, whatever splits the dataset brings.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare/--no-compare", help="Read files of equal size, and keep copies in the same split."),
    ] = True,
) -> None:
    """Divide a dataset into training, validation and test.

    No video, person or file is in two splits. Splits that the dataset brings are kept, and those that it lacks are
    made. Every source and class gives its share.

    Examples:
        dfbench data split my-pictures/ --out splits.csv --valid 0.1 --test 0.2
    """
    from deepfake_core.data.divide import divide_dataset
    from deepfake_core.datasets.address import as_option
    from deepfake_core.datasets.labels import counted, labels_read, some

    dataset = opened(data)
    division = divide_dataset(
        dataset, valid=valid, test=test, by=by.value, seed=seed, keep=not ignore_splits, compare=compare
    )
    division.write(out)
    found = division.counts()
    splits = [name for name in ("train", "valid", "test") if any(name in counts for _, _, counts in found)]
    rows = [("source", "label", *splits)]
    for source, label, counts in found:
        rows.append((printable(source), label, *(f"{counts.get(name, 0):,}" for name in splits)))
    typer.echo(columns(rows))
    typer.echo(printable(labels_read(counted(division.samples))))
    if division.ties:
        typer.echo(f"{division.ties:,} copies of other files were kept in one split with them")
    for name in division.one_class():
        typer.echo(f"warning: the split {name!r} lacks a class; there are too few groups to divide", err=True)
    if division.leaks:
        shown = printable(some([str(leak) for leak in division.leaks]))
        typer.echo(f"warning: {len(division.leaks):,} things are in two splits: {shown}", err=True)
    typer.echo(f"wrote {out}; use it as csv:{out}?root={as_option(str(division.root))}")

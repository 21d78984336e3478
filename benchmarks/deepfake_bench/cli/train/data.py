"""``dfbench data``: check, write down, divide, measure and prepare any dataset."""

from __future__ import annotations

import enum
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli.output.options import Threads
from deepfake_bench.cli.output.text import columns
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_core.data.check import CheckReport
    from deepfake_core.data.fact_cache import FactCache
    from deepfake_core.datasets import Dataset

EXIT_UNFIT = 2

app = typer.Typer(
    name="data",
    help="Check, write down, divide, measure and prepare datasets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Data = Annotated[str, typer.Argument(metavar="NAME:PATH|PATH", help="The dataset.", show_default=False)]
StateFile = Annotated[
    Path | None,
    typer.Option("--state", help="File that remembers what was looked into, so that an interrupted command goes on."),
]
MaxImages = Annotated[int | None, typer.Option(min=1, help="Look into this many files at most, evenly spread.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for the findings as JSON.")]


class By(enum.StrEnum):
    """What stays together."""

    identity = "identity"
    group = "group"
    source = "source"


class Crop(enum.StrEnum):
    """What is stored of a picture."""

    face = "face"
    whole = "whole"


@app.callback()
def options() -> None:
    """Check, write down, divide, measure and prepare datasets."""
    logging.basicConfig(format="%(message)s")


@app.command()
def check(
    data: Data,
    max_bad: Annotated[float, typer.Option(min=0, max=1, help="Share of unreadable files that is no error.")] = 0.01,
    max_images: MaxImages = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Also find pictures in different splits that look the same.")
    ] = False,
    state: StateFile = None,
    json_file: JsonFile = None,
    threads: Threads = None,
) -> None:
    """Check labels and files, duplicates and leaks.

    Layout and labels are read in full, every file is decoded, and copies and leaks between splits are named. Exit
    status: 0, or 2 when the dataset is not fit to train or measure on.
    """
    dataset = _opened(data)
    _check(dataset, max_bad, max_images, near_duplicates, state, json_file, threads)


@app.command()
def manifest(
    data: Data,
    out: Annotated[Path | None, typer.Option(help="CSV file to write: one row for each file.")] = None,
    verify: Annotated[Path | None, typer.Option(help="CSV file to compare the dataset with.")] = None,
    state: StateFile = None,
    threads: Threads = None,
) -> None:
    """Write or verify the sha256 of every file.

    An interrupted --out goes on where it was; --verify reads every file. Exit status: 0, or 2 when the dataset
    differs.
    """
    from deepfake_core.data.manifest import verify as compare
    from deepfake_core.data.manifest import write_manifest
    from deepfake_core.errors import TrainingDataError

    if (out is None) == (verify is None):
        raise TrainingDataError("give either --out FILE or --verify FILE")
    if verify is not None and state is not None:
        raise TrainingDataError("--verify reads every file, so leave out --state")
    dataset = _opened(data)
    if out is not None:
        count, digest = write_manifest(dataset, out, cache=state, threads=threads)
        typer.echo(f"wrote {out}: {count:,} files\nhash {digest}")
        return
    assert verify is not None
    count, digest, differences = compare(dataset, verify, threads=threads)
    for kind in ("changed", "missing", "added", "relabelled"):
        for name in getattr(differences, kind):
            typer.echo(f"{kind}  {printable(name)}")
    typer.echo(f"{'differs from' if differences else 'is as in'} {verify}: {count:,} files\nhash {digest}")
    if differences:
        raise typer.Exit(EXIT_UNFIT)


@app.command()
def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="CSV file to write; the layout csv reads it.")],
    valid: Annotated[float, typer.Option(min=0, max=1, help="Share of the samples that validate.")] = 0.15,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of the samples that test.")] = 0.15,
    by: Annotated[
        By, typer.Option(help="What stays together: groups that share a person, single groups, or whole sources.")
    ] = By.identity,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
    ignore_splits: Annotated[
        bool, typer.Option("--ignore-splits", help="Divide anew what the dataset divides itself.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Read files of equal size, and keep copies together.")
    ] = True,
) -> None:
    """Divide into training, validation and test.

    No video, person or file is in two splits. Splits that the dataset brings are kept, and those that it lacks are
    made. Every source and class gives its share.
    """
    from deepfake_core.data.divide import divide_dataset
    from deepfake_core.datasets.labels import some
    from deepfake_core.datasets.opening import as_option

    dataset = _opened(data)
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
    if division.ties:
        typer.echo(f"{division.ties:,} copies of other files were kept in one split with them")
    for name in division.one_class():
        typer.echo(f"warning: the split {name!r} lacks a class; there are too few groups to divide", err=True)
    if division.leaks:
        shown = printable(some([str(leak) for leak in division.leaks]))
        typer.echo(f"warning: {len(division.leaks):,} things are in two splits: {shown}", err=True)
    typer.echo(f"wrote {out}; use it as csv:{out}?root={as_option(str(division.root))}")


@app.command()
def stats(
    data: Data,
    faces: Annotated[bool, typer.Option("--faces", help="Also find faces and measure them.")] = False,
    max_images: MaxImages = None,
    plot: Annotated[Path | None, typer.Option(help="PNG file for the distributions.")] = None,
    state: StateFile = None,
    json_file: JsonFile = None,
    threads: Threads = None,
) -> None:
    """Show how real and fake files differ.

    Formats, sizes, compression and brightness by source and class. What gives the class away besides the face is
    pointed out, because a detector would learn that instead.
    """
    from deepfake_core.data.stats import MEASURES, collect

    with _state(state) as known:
        found = collect(_opened(data), faces=faces, max_images=max_images, cache=known, threads=threads)
    names = list(found.values)
    rows = [("source", "label", "files", "format", "mode", *(f"{name} 5/50/95 %" for name in names))]
    for cell in found.cells:
        kinds = (" ".join(f"{value}:{count:,}" for value, count in kind.items()) for kind in (cell.formats, cell.modes))
        numbers = (" ".join(f"{value:.3g}" for value in cell.quantiles[name]) or "none" for name in names)
        rows.append((printable(cell.source), cell.label, f"{cell.files:,}", *kinds, *numbers))
    typer.echo(columns(rows))
    if found.unreadable:
        typer.echo(f"warning: {found.unreadable:,} files cannot be read; see dfbench data check", err=True)
    for shortcut in found.shortcuts:
        typer.echo(f"warning: {printable(str(shortcut))}", err=True)
    if not found.shortcuts:
        typer.echo(f"no shortcut: none of {', '.join(MEASURES[name] for name in names)} tells the classes apart")
    _write_json(json_file, found.to_dict())
    if plot is not None:
        from deepfake_core.data.plot import plot as draw

        draw(found, plot)
        typer.echo(f"wrote {plot}")


@app.command()
def prepare(
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Folder for the store; training reads it as crops:FOLDER.")] = None,
    crop: Annotated[Crop, typer.Option(help="The largest face, or whole pictures.")] = Crop.face,
    side: Annotated[int, typer.Option(min=16, help="Longest side of a stored face, in pixels.")] = 320,
    margin: Annotated[float, typer.Option(min=1, help="Side of the stored square over that of the face.")] = 1.7,
    frames: Annotated[int, typer.Option(min=1, help="Frames taken of each video.")] = 16,
    lossless: Annotated[bool, typer.Option("--lossless", help="Store PNG instead of JPEG of quality 95.")] = False,
    max_images: Annotated[
        int | None,
        typer.Option(min=1, help="Most images or videos, evenly spread; by default as many as the dataset proposes."),
    ] = None,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Check the files as dfbench data check does, and store nothing.")
    ] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Replace a store that was made otherwise.")] = False,
    threads: Threads = None,
) -> None:
    """Store the faces of a dataset for training.

    The largest face of every picture, and of frames of every video, is found and cut once. An interrupted command
    goes on where it was.
    """
    from deepfake_core.errors import TrainingDataError

    dataset = _opened(data)
    if max_images is None:
        max_images = dataset.default_max_images()
    if check_only:
        _check(dataset, 0.01, max_images, near=False, state=None, json_file=None, threads=threads)
        return
    if out is None:
        raise TrainingDataError("give --out FOLDER for the store, or --check-only")
    from deepfake_core.data.crops.prepare import prepare as make

    store = make(
        dataset,
        out,
        crop=crop.value,
        side=side,
        margin=margin,
        quality=None if lossless else 95,
        frames=frames,
        max_images=max_images,
        workers=threads,
        rebuild=rebuild,
    )
    fake = int(store.fake.sum())
    typer.echo(f"{out}: {len(store):,} pictures, {len(store) - fake:,} real and {fake:,} fake; use it as crops:{out}")
    if store.rejected:
        typer.echo(f"warning: {store.rejected:,} were left out; {out / 'rejected.csv'} says why", err=True)


def _opened(spec: str) -> Dataset:
    from deepfake_core.datasets.opening import open_dataset

    return open_dataset(spec)


@contextmanager
def _state(path: Path | None) -> Iterator[FactCache | None]:
    if path is None:
        yield None
        return
    from deepfake_core.data.fact_cache import FactCache

    with FactCache(path) as state:
        yield state


def _check(
    dataset: Dataset,
    max_bad: float,
    max_images: int | None,
    near: bool,
    state: Path | None,
    json_file: Path | None,
    threads: int | None,
) -> None:
    from deepfake_core.data.check import check as examine

    with _state(state) as known:
        report = examine(dataset, max_bad=max_bad, max_images=max_images, near=near, cache=known, threads=threads)
    _show(report)
    _write_json(json_file, report.to_dict())
    if not report.fit:
        raise typer.Exit(EXIT_UNFIT)


def _show(report: CheckReport) -> None:
    rows: list[tuple[str, ...]] = [("source", "label", "split", "samples", "groups", "unreadable")]
    for cell in report.cells:
        counts = (f"{count:,}" for count in (cell.samples, cell.groups, cell.unreadable))
        rows.append((printable(cell.source), cell.label, cell.split or "-", *counts))
    typer.echo(columns(rows))
    for finding in report.findings:
        typer.echo(f"{finding.level}: {printable(str(finding))}", err=True)
    persons = f", {report.identities:,} persons named" if report.identities else ""
    looked = f"{report.examined:,} of {report.samples:,} files looked into{persons}"
    typer.echo(f"{looked}: {'fit for use' if report.fit else 'not fit for use'}")


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        from deepfake_registry.files import write_atomic

        write_atomic(path, json.dumps(content, indent=2) + "\n")

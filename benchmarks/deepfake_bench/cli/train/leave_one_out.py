"""``dfbench leave-one-out``: train without each source in turn, and measure each model on what it has not seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.models import trained_model
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.json_file import JsonFile, echo_beside, write_json
from deepfake_bench.cli.output.options import CacheDir, Changes, Device, Download, Recipe, Start, Track
from deepfake_bench.cli.output.text import Styles, columns
from deepfake_bench.printable import printable

if TYPE_CHECKING:
    from deepfake_core.contract.recipe import TrainRecipe
    from deepfake_core.training.leave_out.results import LeaveOneOut, LeftOut, Measure, Measured
    from deepfake_core.training.leave_out.versus import Versus

STYLES: Styles = {"worse": {"fg": "red", "bold": True}, "better": {"fg": "green"}, "no change": {"dim": True}}

HEADINGS: dict[Measure, str] = {
    "auc": "AUC",
    "found": "found",
    "called_fake": "called fake",
    "false_fake": "false fake",
}
"""Measure → heading of its column."""


def leave_one_out(
    detector: Annotated[
        str | None,
        typer.Argument(
            metavar="DETECTOR",
            autocompletion=completion.detectors,
            help="Name of an installed detector to train; without it, nothing is trained, and the results in --run-dir "
            "are shown.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="[LAYOUT:]PATH", help="Training data of several sources; dfbench list shows the layouts."),
    ] = None,
    recipe: Recipe = None,
    changes: Changes = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for the results, with one run for each source; by default runs/leave-one-out-DETECTOR-RECIPE.",
        ),
    ] = None,
    sources: Annotated[
        str | None, typer.Option(metavar="A,B", help="Sources to leave out in turn; by default all.")
    ] = None,
    faces: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="Most faces that are judged of each source; by default 2000.")
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option("--versus", metavar="FOLDER", help="Results of another recipe, to which these are compared."),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="PACKAGE", help="Packaged model, or run, of the same recipe, whose manifest takes the results."
        ),
    ] = None,
    bound_auc: Annotated[
        float | None, typer.Option(metavar="AUC", min=0, max=1, help="Lowest mean AUC that is good enough.")
    ] = None,
    bound_false_fake: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="Highest share of false alarms that is allowed on the worst source."
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Also draw the figures of each source.")
    ] = None,
    json_file: JsonFile = None,
    track: Track = None,
    cache_dir: CacheDir = None,
    start: Start = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Optimiser steps of each run; by default as the recipe says.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="N", help="Minutes of training of each run; by default as the recipe says.")
    ] = None,
    download: Download = False,
    device: Device = "auto",
) -> None:
    """Measure a recipe on sources that it has not seen.

    It is trained without each source in turn, and each model is measured on the source that it lacks. The same command
    goes on where it was interrupted. Exit status: 1 when a source could not be left out, a bound is
    missed, or a mean is worse than that of --versus.

    Examples:
        dfbench leave-one-out lite --data faces/ --minutes 10 --run-dir runs/unseen
        dfbench leave-one-out --run-dir runs/unseen --versus runs/before
        dfbench leave-one-out --run-dir runs/unseen --into runs/mine
    """
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.training.leave_out.results import read_results

    echo = echo_beside(json_file)
    folder = run_dir
    if detector is not None:
        folder = run_dir or Path("runs") / f"leave-one-out-{detector}-{Path(recipe or 'default').stem}"
        options: dict[str, Any] = {
            "steps": steps,
            "minutes": minutes,
            "device": device,
            "cache_dir": cache_dir,
            "download": download,
        }
        options |= {"faces": faces} if faces else {}
        options |= {"sources": [name.strip() for name in sources.split(",")]} if sources else {}
        found = _trained(detector, data, folder, recipe, changes or [], start, {**options, "track": track})
    elif folder is None:
        raise DeepfakeError("leave-one-out: name a DETECTOR to train, or the folder of results by --run-dir")
    elif data or recipe or changes or sources or steps or minutes or faces or start:
        raise DeepfakeError(
            f"{folder}: to train, name the detector: dfbench leave-one-out DETECTOR --run-dir {folder} …"
        )
    else:
        found = read_results(folder)
    compared = _compared(other, folder) if other is not None else None
    _show(found, echo)
    if compared is not None:
        _show_versus(compared, echo)
    content = found.to_dict()
    if compared is not None:
        content["versus"] = compared.model_dump(mode="json")
    write_json(json_file, content)
    if picture is not None:
        found.plot(picture)
    if into is not None:
        _write_into(found, into, echo)
    missed = found.misses(auc=bound_auc, false_fake=bound_false_fake)
    for said in missed:
        typer.echo(printable(said), err=True)
    if missed or not found.complete or (compared is not None and compared.worse):
        raise typer.Exit(ExitStatus.FAILED)


def _trained(
    detector: str,
    data: str | None,
    folder: Path,
    recipe: str | None,
    changes: list[str],
    start: str | None,
    options: dict[str, Any],
) -> LeaveOneOut:
    from deepfake_bench.cli.train.settings import announce, configured, to_train
    from deepfake_core.errors import DeepfakeError

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DeepfakeError("each source is left out in one process; start several of them without a launcher")
    if data is None:
        raise DeepfakeError("--data is missing: name the training data as --data NAME:PATH or --data FOLDER")
    loaded, settings = configured(to_train(detector, options["track"]), recipe, changes)
    from deepfake_core.training.leave_out.runs import leave_one_out as leave_out

    def begin(shortened: TrainRecipe) -> None:
        announce(loaded, shortened, folder)

    model = trained_model(start) if start else None
    return leave_out(loaded, data, folder, settings, on_start=begin, start=model, **options)


def _compared(before: Path, after: Path) -> Versus:
    from deepfake_core.training.leave_out.versus import versus

    return versus(before, after)


def _show(found: LeaveOneOut, echo: Any) -> None:
    """Print the figures of the fakes, and those of the real faces, of each source; the worst first."""
    said = list(dict.fromkeys(text for row in found.sources for text in row.warnings))
    notes = {row.source: " ".join(f"({said.index(text) + 1})" for text in row.warnings) for row in found.sources}
    fakes = [row for row in found.sources if row.fake]
    reals = sorted((row for row in found.sources if row.false_fake), key=lambda row: -row.false_fake.value)  # type: ignore[union-attr]
    parts: tuple[tuple[list[LeftOut], str, tuple[Measure, ...]], ...] = (
        (fakes, "fake", ("auc", "found", "called_fake")),
        (reals, "real", ("false_fake",)),
    )
    for rows, count, names in parts:
        if not rows:
            continue
        table: list[tuple[str, ...]] = [("source left out", count, *(HEADINGS[name] for name in names), "why")]
        for row in rows:
            figures = (_figure(getattr(row, name), name) for name in names)
            table.append((row.source, f"{getattr(row, count):,}", *figures, notes[row.source]))
        means = (f"{found.means[name].mean:{_form(name)}}" if name in found.means else "–" for name in names)
        table.append((f"mean of {len(rows)}", "", *means, ""))
        echo(columns(table, elsewhere="--json FILE") + "\n")
    for number, text in enumerate(said, start=1):
        echo(f"({number}) {printable(text)}")
    for one in found.skipped:
        typer.echo(printable(f"{one.source} was not left out: {one.reason}"), err=True)
    if found.missing:
        left = ", ".join(found.missing)
        typer.echo(printable(f"not complete yet: {left}; give the command that trains them again"), err=True)


def _form(measure: str) -> str:
    return ".3f" if measure == "auc" else ".1%"


def _figure(figure: Measured | None, measure: str) -> str:
    from deepfake_bench.records.report import Estimate
    from deepfake_bench.report.labels import interval

    return interval(Estimate(**figure.model_dump()), _form(measure)) if figure else "–"


def _show_versus(found: Versus, echo: Any) -> None:
    rows: list[tuple[str, ...]] = [("source left out", "measure", "before", "after", "change", "p", "verdict")]
    for one in found.changes:
        form = _form(one.measure)
        ends = "" if one.low is None or one.high is None else f" [{one.low:+{form}}, {one.high:+{form}}]"
        rows.append(
            (
                one.source or f"mean of {len(one.sources)}",
                HEADINGS[one.measure],
                f"{one.before:{form}}",
                f"{one.after:{form}}",
                f"{one.change:+{form}}{ends}",
                "–" if one.p_value is None else f"{one.p_value:.3f}",
                one.verdict,
            )
        )
    echo(f"\nbefore: {printable(found.before)}; after: {printable(found.after)}")
    echo(columns(rows, styles=STYLES, elsewhere="--json FILE"))
    for name, names in (("before", found.before_only), ("after", found.after_only)):
        if names:
            echo(printable(f"left out of the comparison, only in {name}: {', '.join(names)}"))
    for line in found.differs:
        echo(printable(f"differs: {line}"))


def _write_into(found: LeaveOneOut, folder: Path, echo: Any) -> None:
    from deepfake_core.training.leave_out.record import into_package

    package, differs = into_package(found, folder)
    echo(printable(f"wrote the results into {package.folder}"))
    for line in differs:
        typer.echo(printable(f"the recipe of the model is another one: {line}"), err=True)

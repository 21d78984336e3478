"""Measure everything that the project's pages show, keep the results, and fill the pages from them.

Run from the repository root on an idle machine, with every detector of this repository installed::

    python benchmarks/publish.py --evaluation evaluation=image-folder:PATH --trained-on PATH …

Each step runs a command of its own and keeps its result in ``benchmarks/results``. A step whose inputs are not given is
left out; ``--only STEP`` runs single ones, and ``--pages`` fills the pages from the results that are there. The page
"Published results" says what is measured; ``publish_steps.py`` lists the steps.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from deepfake_bench.card import marks
from deepfake_bench.cli.commands import App
from deepfake_core.errors import DeepfakeError
from deepfake_core.progress import track
from deepfake_core.runtimes.cpu_contention import CpuContention
from deepfake_registry.files import write_atomic
from publish_steps import ROOT, STEPS, Inputs, Step
from published import KIND, contents, pages
from published_cards import filled_cards
from published_code import filled_pages
from published_gpu import PICTURE, shares_picture

RESULTS = ROOT / "benchmarks" / "results"
ASKED_FOR = {"DEEPFAKE_FOREIGN_TESTS": "1"}
"""Environment that enables the tests that install programs."""


def publish(
    evaluation: Annotated[str | None, typer.Option(metavar="NAME=LAYOUT:PATH", help="Evaluation set.")] = None,
    training: Annotated[
        str | None,
        typer.Option(metavar="[LAYOUT:]PATH", help="Labelled images that int8 is calibrated and checked on."),
    ] = None,
    clips: Annotated[
        str | None, typer.Option(metavar="LAYOUT:PATH", help="Labelled videos for detectors that take clips.")
    ] = None,
    trained_on: Annotated[
        str | None, typer.Option(metavar="[LAYOUT:]PATH", help="Training data of lite and unet.")
    ] = None,
    cache: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for the prepared training data, kept for the next time.")
    ] = Path("cache"),
    optimum: Annotated[
        str | None, typer.Option(metavar="PYTHON", help="Python of an environment that has optimum.")
    ] = None,
    models: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of exported files, which the step parity makes.")
    ] = Path("models"),
    again: Annotated[
        bool, typer.Option("--again", help="Export files again that the step parity has exported.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help=f"Step to run, of {', '.join(STEPS)}; may be repeated.")
    ] = None,
    pages_only: Annotated[bool, typer.Option("--pages", help="Measure nothing; fill the pages.")] = False,
) -> None:
    """Measure everything that the project's pages show, keep the results, and fill the pages from them.

    Exit status: 0, or 1 when a step failed; its result and its tables stay as they were.

    Examples:
        python benchmarks/publish.py --pages
        python benchmarks/publish.py --only peers --only cpu
        python benchmarks/publish.py --evaluation evaluation=image-folder:faces/
    """
    for name in only or ():
        if name not in STEPS:
            raise typer.BadParameter(f"unknown step {name!r}; there are: {', '.join(STEPS)}")
    given = Inputs(evaluation, training, clips, trained_on, cache, optimum, models, again, RESULTS)
    places = given.folders()  # mistakes in an input or a page are reported before hours of measuring
    fill_pages()
    failed = []
    chosen = [] if pages_only else [step for step in STEPS.values() if not only or step.name in only]
    for step in track(chosen, "publishing"):
        if lacking := step.lacking(given):
            typer.echo(f"{step.name}: left out, it needs {', '.join(lacking)}")
        elif reason := run_step(step, given, places):
            typer.echo(f"{step.name}: failed, {reason}", err=True)
            failed.append(step.name)
        fill_pages()
    if failed:
        typer.echo(
            f"failed: {', '.join(failed)}; go on with: {' '.join(f'--only {name}' for name in failed)}", err=True
        )
        raise typer.Exit(1)


def run_step(step: Step, given: Inputs, places: list[str]) -> str:
    """Run a step and keep its result without the names of ``places``; return why it failed, or an empty text."""
    others = CpuContention()
    with TemporaryDirectory() as folder:
        try:
            for command in step.commands(given, Path(folder)):
                typer.echo(f"{step.name}: {shlex.join(command)}")
                done = subprocess.run(command, env=os.environ | ASKED_FOR, check=False)  # noqa: S603 - our own programs
                if status := done.returncode:
                    return f"status {status}"
            if step.result:
                text = step.result(given, Path(folder)).read_text(encoding="utf-8")
                for place in (folder, *places):
                    text = text.replace(f"{place}/", "")
                write_atomic(RESULTS / f"{step.name}.json", text)
        except (DeepfakeError, OSError) as error:
            return str(error)
    share = others.share()
    typer.echo(f"{step.name}: done; other work took {'–' if share is None else f'{share:.1%}'} of the processors' time")
    return ""


def fill_pages() -> None:
    """Fill every page from the results that exist, the packaged weights, and the files that it shows."""
    made = contents(RESULTS)
    for page in list(pages(ROOT)):
        marks.fill(page, KIND, made)
    for page, text in [*filled_cards(ROOT), *filled_pages(ROOT)]:
        write_atomic(page, text)
    if picture := shares_picture(RESULTS):
        write_atomic(ROOT / "docs" / "assets" / PICTURE, picture)


def main() -> None:
    """Run the script; a mistake in a page or a result is reported in one line."""
    program = App("publish", add_completion=False)
    program.command()(publish)
    try:
        program()
    except DeepfakeError as error:
        raise SystemExit(f"publish: {error}") from error


if __name__ == "__main__":
    main()

"""``dfbench explain``: show where a detector looked."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.models import model_of
from deepfake_bench.cli.output.exit_status import ExitStatus
from deepfake_bench.cli.output.options import (
    Backend,
    BackendOption,
    Detector,
    Device,
    Download,
    Inputs,
    MaxFaces,
    MaxPixels,
    Threads,
    Weights,
)


class Class(enum.StrEnum):
    """Class for which a map shows evidence."""

    predicted = "predicted"
    fake = "fake"
    real = "real"


def explain(
    paths: Inputs,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the images.")],
    detector: Detector = "lite",
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.explainers,
            help="Explainer, see dfbench list; by default the detector's evidence map, GradCAM or occlusion.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[Class, typer.Option(help="Class for which the map shows evidence.")] = Class.predicted,
    frames: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Number of frames explained in each video, spread over the whole of it."),
    ] = 4,
    clips: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Number of clips explained in each video, by a detector that takes clips."
        ),
    ] = 1,
    max_faces: MaxFaces = None,
    max_pixels: MaxPixels = None,
    weights: Weights = None,
    download: Download = False,
    backend: BackendOption = Backend.auto,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Show where a detector looked.

    One image is written for each face, with the verdict, P(fake) on the scale of the model, the heat map and what it
    shows in one sentence. Its name and the sentence are printed. Exit status: 0 when at least one file was explained; 3
    when none was.

    Examples:
        dfbench explain photo.jpg --out maps/
        dfbench explain photo.jpg --out maps/ --method occlusion --target real
    """
    from deepfake_bench.cli.judge.explanations import Explanations
    from deepfake_bench.cli.judge.standard_input import opened
    from deepfake_bench.printable import printable
    from deepfake_core.loading.load import load
    from deepfake_core.progress import counted, track

    loaded = load(
        model_of(detector), backend=backend.value, device=device, threads=threads, weights=weights, download=download
    )
    explanations = Explanations(out, loaded, method, target.value, every_face=True)
    sources, total = counted(loaded.expand(map(opened, paths)))
    results = loaded.stream(
        sources, frames=frames, clips=clips, max_faces=max_faces, max_pixels=max_pixels, keep_crops=True
    )
    for result in track(results, "explaining", total=total):
        for picture in explanations.add(result):
            typer.echo(printable(str(picture.file)))
            typer.echo(f"  {picture.sentence}", err=True)
        for warning in result.warnings:
            typer.echo(f"dfbench: {printable(result.source)}: {printable(warning)}", err=True)
        if not result.faces:
            why = result.error or "no face found"
            typer.echo(f"dfbench: {printable(result.source)}: {printable(why)}", err=True)
    if explanations.written and loaded.manifest.weights == "untrained":
        typer.echo("The weights are untrained: these scores and maps mean nothing.", err=True)
    if not explanations.written:
        raise typer.Exit(ExitStatus.NOTHING_PROCESSED)

"""``dfbench explain``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.judge.predict import EXIT_NOTHING_JUDGED
from deepfake_bench.cli.output.options import Backend, Device, Download, Threads, Weights


class Class(enum.StrEnum):
    """What a map argues for."""

    predicted = "predicted"
    fake = "fake"
    real = "real"


def explain(
    paths: Annotated[list[str], typer.Argument(help="Pictures, videos, folders or glob patterns.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder that takes the pictures.")],
    detector: Annotated[str, typer.Option(help="A detector's name, a model file or a packaged folder.")] = "lite",
    method: Annotated[
        str | None,
        typer.Option(
            help="An explainer, see dfbench list; by default the detector's evidence, GradCAM or occlusion.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[Class, typer.Option(help="The class that the map argues for.")] = Class.predicted,
    backend: Annotated[Backend, typer.Option(help="What runs the network.")] = Backend.auto,
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
    download: Download = False,
    frames: Annotated[int, typer.Option(min=1, help="Frames explained per video, spread over the whole clip.")] = 4,
    clips: Annotated[int, typer.Option(min=1, help="Clips explained per video instead, by detectors of clips.")] = 1,
) -> None:
    """Show where a detector looked: one picture for each face, with the heat map, P(fake), verdict and method.

    The name of each picture is printed once it is written. Exit status: 0 when at least one file was explained,
    3 when none was, 2 for a usage error.
    """
    from deepfake_bench.cli.judge.explanations import Explanations
    from deepfake_bench.printable import printable
    from deepfake_core.loading.load import load
    from deepfake_core.progress import track

    loaded = load(detector, backend=backend.value, device=device, threads=threads, weights=weights, download=download)
    explanations = Explanations(out, loaded, method, target.value, every_face=True)
    sources = list(loaded.expand(paths))
    if not sources:
        typer.echo(f"dfbench: no pictures or videos in {', '.join(map(printable, paths))}", err=True)
    results = loaded.stream(sources, frames=frames, clips=clips, keep_crops=True)
    written = 0
    for result in track(results, "explaining", total=len(sources)):
        for file in explanations.add(result):
            typer.echo(printable(str(file)))
            written += 1
        if result.p_fake is None:
            why = result.error or "no face found"
            typer.echo(f"dfbench: {printable(result.source)}: {printable(why)}", err=True)
    if written and loaded.manifest.weights == "untrained":
        typer.echo("The weights are untrained: these scores and maps mean nothing.", err=True)
    if not written:
        raise typer.Exit(EXIT_NOTHING_JUDGED)

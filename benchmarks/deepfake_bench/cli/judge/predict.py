"""``dfbench predict``."""

from __future__ import annotations

import enum
import time
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.output.options import Backend, Device, Download, Threads, Weights

EXIT_NOTHING_JUDGED = 3


class Format(enum.StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def predict(
    paths: Annotated[list[str], typer.Argument(help="Pictures, videos, folders or glob patterns.", show_default=False)],
    detector: Annotated[str, typer.Option(help="A detector's name, a model file or a packaged folder.")] = "lite",
    output: Annotated[Format, typer.Option("--format", help="csv and jsonl are printed row by row.")] = Format.table,
    timings: Annotated[bool, typer.Option(help="Account for the time by stage; judges files one by one.")] = False,
    explain: Annotated[
        Path | None, typer.Option(help="Folder that takes a picture of where it looked, for each judged file.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="The explainer for --explain; by default evidence, GradCAM or occlusion.", show_default=False
        ),
    ] = None,
    backend: Annotated[Backend, typer.Option(help="What runs the network.")] = Backend.auto,
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
    download: Download = False,
    frames: Annotated[int, typer.Option(min=1, help="Frames judged per video, spread over the whole clip.")] = 16,
    clips: Annotated[int, typer.Option(min=1, help="Clips judged per video instead, by detectors of clips.")] = 4,
) -> None:
    """Judge pictures and videos: a verdict, P(fake) and the face that decided, for each file.

    Exit status: 0 when at least one file was judged, 3 when none was, 2 for a usage error.
    """
    start = time.perf_counter()
    from deepfake_bench.cli.judge.account import Account
    from deepfake_bench.cli.judge.explanations import Explanations
    from deepfake_bench.cli.output.writers import open_writer
    from deepfake_bench.printable import printable
    from deepfake_core.loading.load import load
    from deepfake_core.progress import track

    account = Account(start)
    with account.timed("load"):
        loaded = load(
            detector, backend=backend.value, device=device, threads=threads, weights=weights, download=download
        )
    account.loaded(loaded)
    explanations = Explanations(explain, loaded, method) if explain is not None else None
    sources = list(loaded.expand(paths))
    if not sources:
        typer.echo(f"dfbench: no pictures or videos in {', '.join(map(printable, paths))}", err=True)
    # With one file at a time nothing overlaps, so that the stages of --timings add up.
    batches = [[source] for source in sources] if timings else [sources]
    judge = partial(loaded.stream, frames=frames, clips=clips, keep_crops=explain is not None, evidence=timings)
    results = chain.from_iterable(map(judge, batches))
    judged = 0
    with open_writer(output.value) as writer:
        for result in track(results, "judging", total=len(sources)):
            judged += result.p_fake is not None
            account.add(result)
            with account.timed("results"):
                writer.row(result)
                if explanations is not None:
                    explanations.add(result)
    if timings:
        account.show(loaded, detector)
    if not judged:
        raise typer.Exit(EXIT_NOTHING_JUDGED)

"""``dfbench predict``: judge images and videos."""

from __future__ import annotations

import enum
import time
from functools import partial
from itertools import chain
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


class Format(enum.StrEnum):
    """Form in which results are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def predict(
    paths: Inputs,
    detector: Detector = "lite",
    output: Annotated[
        Format,
        typer.Option("--format", help="Form in which the results are printed; csv and jsonl appear line by line."),
    ] = Format.table,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for explanations: one image with a heat map for each judged file."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.explainers,
            help="Explainer for --explain, see dfbench list; by default the detector's evidence map, GradCAM or "
            "occlusion.",
            show_default=False,
        ),
    ] = None,
    timings: Annotated[
        bool, typer.Option("--timings", help="Show the time by stage and by file; files are then judged one at a time.")
    ] = False,
    frames: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Number of frames judged in each video, spread over the whole of it."),
    ] = 16,
    clips: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Number of clips judged in each video, by a detector that takes clips."),
    ] = 4,
    max_faces: MaxFaces = None,
    max_pixels: MaxPixels = None,
    weights: Weights = None,
    download: Download = False,
    backend: BackendOption = Backend.auto,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Judge images and videos.

    For each file the verdict, P(fake) and the face that decided are printed, and below them the scale of the model:
    which P(fake) means what. A file that cannot be read gets a row with the reason. Exit status: 0 when at least one
    file was judged; 3 when none was.

    Examples:
        dfbench predict photo.jpg
        dfbench predict photo.jpg clip.mp4 holiday/ --explain maps/
        dfbench predict holiday/ --format csv > verdicts.csv
    """
    start = time.perf_counter()
    from deepfake_bench.cli.judge.explanations import Explanations
    from deepfake_bench.cli.judge.standard_input import opened
    from deepfake_bench.cli.output.writers import open_writer
    from deepfake_bench.runner.stage_times import StageTimes
    from deepfake_core.loading.load import load
    from deepfake_core.progress import counted, track

    times = StageTimes(start, keep=timings)
    with times.timed("load"):
        loaded = load(
            model_of(detector),
            backend=backend.value,
            device=device,
            threads=threads,
            weights=weights,
            download=download,
        )
    times.loaded(loaded)
    explanations = Explanations(explain, loaded, method) if explain is not None else None
    sources, total = counted(loaded.expand(map(opened, paths)))
    # With one file at a time nothing overlaps, so that the stages of --timings add up.
    batches = ([source] for source in sources) if timings else (sources,)
    judge = partial(
        loaded.stream,
        frames=frames,
        clips=clips,
        max_faces=max_faces,
        max_pixels=max_pixels,
        keep_crops=explain is not None,
        evidence=timings,
    )
    results = chain.from_iterable(map(judge, batches))
    judged = 0
    with open_writer(output.value) as writer:
        for result in track(results, "judging", total=total):
            judged += result.p_fake is not None
            times.add(result)
            with times.timed("results"):
                writer.row(result)
                if explanations is not None:
                    explanations.add(result)
    if explanations is not None:
        explanations.report()
    if timings:
        from deepfake_bench.cli.judge.timings import show_timings

        show_timings(times, loaded, detector)
    if not judged:
        raise typer.Exit(ExitStatus.NOTHING_PROCESSED)

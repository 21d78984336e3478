"""``dfbench parity``: compare every export of every detector with the network it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.models import model_of
from deepfake_bench.cli.output.text import columns
from deepfake_bench.cli.publish.few_images import warn_of_few

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


def parity(
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Folder for parity.json and PARITY.md; measurements that it holds are not repeated."
        ),
    ],
    detectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DETECTOR|RUN",
            autocompletion=completion.detectors,
            help="Detectors to export, see dfbench list; by default every installed one.",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            autocompletion=completion.formats,
            help="Format to export: onnx, openvino, pt2 or torchscript; by default every one; may be repeated.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="[LAYOUT:]PATH", help="Labelled images on which int8 is tuned and checked."),
    ] = None,
    clips: Annotated[
        str | None,
        typer.Option(metavar="[LAYOUT:]PATH", help="Labelled videos for the same purpose, for detectors of clips."),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest number of images of each source and class.")
    ] = 60,
    clip_limit: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Largest number of videos of each source and class; a clip takes far longer."
        ),
    ] = 6,
    keep: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder for the exported files.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Repeat all measurements, those that --out holds included.")
    ] = False,
    only_speed: Annotated[
        bool, typer.Option("--only-speed", help="Repeat only the measurement of speed, with the files in --keep.")
    ] = False,
) -> None:
    """Compare every export with the network it came from.

    Every detector is exported in every format and precision, each export is measured, and the table is written.
    Detectors without weights are built from seed 0, and their rows say untrained.

    Examples:
        dfbench parity lite --out parity/ --data my-pictures/
    """
    from deepfake_core.datasets.opening import resolved
    from deepfake_core.discovery import plugins
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.progress import track
    from deepfake_exports.calibration_images import labelled_crops
    from deepfake_exports.request import OFFERED
    from deepfake_exports.table import COLUMNS, PAGE, Table, cell, texts, timed_again, with_logits

    for name in formats or ():
        if name not in OFFERED:
            raise DeepfakeError(f"unknown format {name!r}; there are {', '.join(OFFERED)}")
    if only_speed and (keep is None or again):
        raise DeepfakeError(
            "--only-speed measures files that exist already: name their folder with --keep, and leave out --again"
        )
    table = Table.read(out, anew=again)
    for name in track(detectors or list(plugins.detectors()), "exports"):
        loaded = network_of(name)
        if only_speed and keep is not None:
            for item in table.of(loaded.manifest):
                table.add(timed_again(loaded, item, keep))
            table.write(out)
            continue
        missing = [
            (format, precision)
            for format, offered in OFFERED.items()
            if not formats or format in formats
            for precision in offered
            if not table.holds(loaded.manifest, format, precision)
        ]
        if not missing:
            continue
        labelled, most = (clips, clip_limit) if loaded.manifest.preprocess.clip else (data, limit)
        options = with_logits(loaded, labelled_crops(loaded, labelled, most)) if labelled else {}
        if any(precision != "fp32" for _, precision in missing):
            warn_of_few(loaded, labelled or "", options)
        named = Path(resolved(labelled).path).name if labelled else ""
        for format, precision in missing:
            table.add(cell(loaded, format, precision, data=named, keep=keep, **options))
            table.write(out)
    cells = list(table.cells.values())
    if shown := [texts(item) for item in cells if not item.reason]:
        typer.echo(columns([COLUMNS, *shown], elsewhere=str(out / PAGE)))
    for item in cells:
        if item.reason:
            typer.echo(f"absent: {item.detector} as {item.format} {item.precision}: {item.reason}")
    if busy := table.busy_line():
        typer.echo(busy)


def network_of(name: str, threads: int | None = None) -> LoadedDetector:
    """Load a detector in torch on the CPU, with random weights where its own are not on this machine.

    Args:
        name: Name of the detector, or the folder of a run.
        threads: Number of threads for torch; by default torch chooses.
    """
    from deepfake_core.errors import WeightsUnavailable
    from deepfake_core.handle.loaded import single
    from deepfake_core.loading.load import load

    try:
        return single(load(model_of(name), backend="torch", device="cpu", threads=threads))
    except WeightsUnavailable:
        return load(name, backend="torch", device="cpu", threads=threads, untrained=True)

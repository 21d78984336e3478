"""``dfbench data pack``: write a store of face crops into one file that trains on other machines."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.data.shared import Data, opened
from deepfake_bench.cli.output.options import Threads


class Coding(enum.StrEnum):
    """Format of the faces in a pack."""

    webp = "webp"
    jpeg = "jpeg"


def pack(
    data: Data,
    out: Annotated[
        Path, typer.Option(metavar="FILE.pack", help="File of the pack, which training reads as crops:FILE.pack.")
    ],
    coding: Annotated[Coding, typer.Option("--coding", help="Format in which all faces are coded anew.")] = Coding.webp,
    quality: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Quality of the coded faces.")] = 90,
    sources: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml", help="TOML file with the origin of each source, and its terms, to be kept in the pack."
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=16, help="Longest side of a face, in pixels; larger ones are reduced."),
    ] = None,
    max_mb: Annotated[
        float | None,
        typer.Option(
            metavar="N", min=1, help="Largest size of a file, in megabytes; others follow beside it, as FILE.2.pack."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another file of the same name.")] = False,
    threads: Threads = None,
) -> None:
    """Write a store of faces into one file for another machine.

    The file holds the faces, coded anew, and all that a store says about them. Training on it needs no face finder, no
    video decoder and no network. Exit status: 0.

    Examples:
        dfbench data pack crops:crops/ --out faces.pack
        dfbench data pack crops:crops/ --out faces.pack --side 320 --max-mb 100
        dfbench train lite --data crops:faces.pack
    """
    from deepfake_core.data.crops.pack import pack as make
    from deepfake_core.datasets.crop_store.dataset import StoredCrops
    from deepfake_core.datasets.crop_store.pack import parts_of
    from deepfake_core.errors import TrainingDataError
    from deepfake_registry.provenance import read_terms

    dataset = opened(data)
    if not isinstance(dataset, StoredCrops):
        raise TrainingDataError(
            f"{data}: is no store of faces; make one with dfbench data prepare {data} --out FOLDER, and pack that"
        )
    packed = make(
        dataset.store,
        out,
        coding=coding.value,
        quality=quality,
        side=side,
        max_mb=max_mb,
        terms=read_terms(sources) if sources else (),
        workers=threads,
        force=force,
    )
    files = parts_of(out)
    fake = int(packed.fake.sum())
    size = sum(file.stat().st_size for file in files) / 1e6
    typer.echo(
        f"{out}: {len(packed):,} pictures, {len(packed) - fake:,} real and {fake:,} fake, {size:,.1f} MB in "
        f"{len(files)} {'file' if len(files) == 1 else 'files'}; use it as crops:{out}"
    )
    if packed.spec.crop == "face" and packed.points is None:
        typer.echo(
            "note: it has no landmarks, which samples=pairs needs; dfbench data prepare --landmarks finds them in the "
            "store",
            err=True,
        )

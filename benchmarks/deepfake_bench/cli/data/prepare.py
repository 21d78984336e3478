"""``dfbench data prepare``: store the faces of a dataset for training."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli.data.check import run_check
from deepfake_bench.cli.data.shared import Data, opened
from deepfake_bench.cli.output.options import Threads
from deepfake_bench.printable import printable


class Crop(enum.StrEnum):
    """Part of an image that is stored."""

    face = "face"
    whole = "whole"


def prepare(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for the crop store, which training reads as crops:FOLDER."),
    ] = None,
    crop: Annotated[
        Crop, typer.Option(help="Part of an image that is stored: the largest face, or the whole image.")
    ] = Crop.face,
    side: Annotated[
        int, typer.Option(metavar="PIXELS", min=16, help="Longest side of a stored face, in pixels.")
    ] = 320,
    margin: Annotated[
        float,
        typer.Option(
            metavar="FACTOR", min=1, help="Crop margin: the side of the stored square, divided by that of the face box."
        ),
    ] = 1.7,
    frames: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of frames that are taken from each video.")
    ] = 16,
    lossless: Annotated[bool, typer.Option("--lossless", help="Store PNG instead of JPEG of quality 95.")] = False,
    max_images: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Largest number of images or videos, evenly spread; by default as many as the dataset proposes.",
        ),
    ] = None,
    landmarks: Annotated[
        bool,
        typer.Option(
            "--landmarks",
            help="Find the landmarks of the stored faces, too, which training on pairs needs. A store gets them in "
            "place.",
        ),
    ] = False,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Check the files as dfbench data check does, and store nothing.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Replace a store that was made with other settings.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Store the faces of a dataset for training.

    The largest face of every image, and of frames of every video, is found and cut out once. The same command
    continues after an interruption, also while it finds landmarks. Exit status: 0; 2 when --check-only finds that the
    dataset is not fit for use.

    Examples:
        dfbench data prepare my-pictures/ --out crops/
        dfbench train lite --data crops:crops/
        dfbench data prepare my-pictures/ --out crops/ --landmarks
        dfbench data prepare crops:crops/ --landmarks
    """
    import numpy as np

    from deepfake_core.errors import TrainingDataError

    dataset = opened(data)
    if max_images is None:
        max_images = dataset.default_max_images()
    if check_only:
        run_check(dataset, max_images=max_images, threads=threads)
        return
    from deepfake_core.datasets.crop_store.dataset import StoredCrops

    if isinstance(dataset, StoredCrops):
        if not landmarks or out is not None:
            raise TrainingDataError(
                f"{dataset.root}: is a store already; add landmarks to it with --landmarks and without --out, or name "
                "the dataset that it was made from"
            )
        out = dataset.root
    elif out is None:
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
        landmarks=landmarks,
    )
    fake = int(store.fake.sum())
    typer.echo(f"{out}: {len(store):,} pictures, {len(store) - fake:,} real and {fake:,} fake; use it as crops:{out}")
    if store.points is not None:
        found = len(store) - int(np.isnan(store.points[:, 0, 0]).sum())
        typer.echo(f"landmarks: found in {found:,} of {len(store):,} faces; pairs are made of these")
    if store.labels:
        typer.echo(printable(store.labels))
    if store.rejected:
        typer.echo(f"warning: {store.rejected:,} were left out; {out / 'rejected.csv'} says why", err=True)

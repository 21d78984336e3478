"""``dfbench export``: write a detector in another format."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from deepfake_bench.cli import completion
from deepfake_bench.cli.models import run_of, trained_model
from deepfake_bench.cli.output.options import Download, Weights
from deepfake_bench.cli.publish.few_images import warn_of_few


class Layout(enum.StrEnum):
    """Folder of a model server."""

    triton = "triton"
    mlflow = "mlflow"


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DETECTOR|RUN",
            autocompletion=completion.detectors,
            help="Name of a detector, see dfbench list; or a model file, or the folder of a run.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE|FOLDER", help="File to write; or a folder for a packaged model, which also holds the weights."
        ),
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            autocompletion=completion.formats,
            help="Format of the file: onnx, openvino, pt2, torchscript, or one of a plugin, see dfbench list.",
        ),
    ] = "onnx",
    precision: Annotated[
        str,
        typer.Option(
            metavar="PRECISION",
            autocompletion=completion.precisions,
            help="Precision of the network: fp32, or as far as the format offers it fp16-storage, bf16, "
            "int8-weights or int8.",
        ),
    ] = "fp32",
    layout: Annotated[
        Layout | None,
        typer.Option(
            help="Write a folder for a model server: a Triton model repository or an MLflow model. An .onnx file is "
            "copied into it unchanged.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="[LAYOUT:]PATH",
            help="Labelled images on which a low precision is tuned and checked; for int8 of a run, by default the "
            "validation split of the run.",
        ),
    ] = None,
    weights: Weights = None,
    download: Download = False,
) -> None:
    """Write a detector in another format.

    The file appears only if its outputs agree with those of the network.

    Examples:
        dfbench export lite --out lite.onnx
        dfbench export runs/mine --out mine-small/ --precision int8-weights
        dfbench export lite --out models/ --layout triton
    """
    from deepfake_core.datasets.opening import resolved
    from deepfake_core.discovery.artifacts import check_package_folder
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.export import check_export
    from deepfake_exports.layouts import LAYOUTS

    write = LAYOUTS[layout] if layout is not None else None
    if write and format_ != "onnx":
        raise DeepfakeError(f"--layout {layout} holds an ONNX file: leave out --format {format_}")
    if write and Path(source).suffix.lower() == ".onnx":
        if (precision, data, weights) != ("fp32", None, None):
            raise DeepfakeError(f"{source} is copied unchanged: leave out --precision, --data and --weights")
        typer.echo(f"wrote {write(source, out)}")
        return
    run = run_of(source) if precision == "int8" else None
    file = out / "model.onnx" if write else out
    check_export(format_, precision, file, labelled=data is not None or run is not None)
    if not file.suffix:
        check_package_folder(out)
    if data is not None:
        resolved(data)
    loaded = trained_model(source, weights=weights, download=download)
    options: dict[str, Any] = {}
    if data is not None:
        from deepfake_exports.calibration_images import labelled_crops

        options = labelled_crops(loaded, data)
    elif run is not None:
        from deepfake_exports.calibration_images import held_out_crops

        options = held_out_crops(loaded, run)
    if precision != "fp32":
        warn_of_few(loaded, data or source, options)
    if write:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as scratch:
            exported = loaded.export(format_, precision, out=Path(scratch) / "model.onnx", **options)
            typer.echo(f"wrote {write(exported, out)}")
    elif out.suffix:
        typer.echo(f"wrote {loaded.export(format_, precision, out=out, **options)}")
    else:
        from deepfake_exports.package import export_package

        typer.echo(f"wrote {export_package(loaded, format_, precision, out, **options).folder}")

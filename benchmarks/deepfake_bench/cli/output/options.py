"""Options that several commands share."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from deepfake_bench.cli import completion


class Backend(enum.StrEnum):
    """Runtime that computes the network."""

    auto = "auto"
    fastest = "fastest"
    onnxruntime = "onnxruntime"
    openvino = "openvino"
    torch = "torch"


class Format(enum.StrEnum):
    """Form in which results are printed."""

    table = "table"
    json = "json"


BackendOption = Annotated[
    Backend,
    typer.Option(
        "--backend",
        help="Runtime that computes the network: auto is the one that the package of the model prefers, fastest the "
        "one that is the fastest on this CPU, see dfbench backends.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N|mps",
        autocompletion=completion.devices,
        help="Device that computes the network.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Number of CPU threads; by default as many as this machine allows."),
]
Detector = Annotated[
    str,
    typer.Option(
        metavar="DETECTOR",
        autocompletion=completion.detectors,
        help="Name of a detector, see dfbench list; or a model file, or the folder of a packaged model or a run.",
    ),
]
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE", help="Images, videos, folders or glob patterns; - is standard input.", show_default=False
    ),
]
MaxFaces = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Most faces judged in each picture, or in each frame of a video: the largest ones; by default all. Where "
        "others are left out, the verdict is never real.",
        show_default=False,
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Most pixels decoded of one file; by default 64 million, or what DEEPFAKE_MAX_PIXELS says. Larger JPEG "
        "files are decoded at a reduced size, and other larger files refused.",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="OWNER/NAME|FOLDER",
        help="Weights for a named detector: a repository of the Hugging Face Hub, or a folder.",
    ),
]
Download = Annotated[
    bool,
    typer.Option(
        "--download", help="Download public weights that are not on this machine, as from the Hugging Face Hub."
    ),
]
Output = Annotated[Format, typer.Option("--format", help="Form in which the results are printed.")]
TrainedDetector = Annotated[
    str,
    typer.Argument(
        metavar="DETECTOR",
        autocompletion=completion.detectors,
        help="Name of an installed detector, see dfbench list.",
        show_default=False,
    ),
]
TrainingData = Annotated[
    str, typer.Option("--data", metavar="[LAYOUT:]PATH", help="Training data; dfbench list shows the layouts.")
]
ValidationData = Annotated[
    str | None,
    typer.Option(
        "--valid",
        metavar="[LAYOUT:]PATH",
        help="Validation data; by default a share of the groups of the training data.",
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE.yaml",
        help="Training recipe, see dfbench recipes DETECTOR; by default the one named default. The folder of a run or "
        "of a packaged model means the recipe and the hyper-parameters that it was trained by.",
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting of the recipe, as phases.0.epochs=3; dfbench recipes DETECTOR RECIPE shows all; may "
        "be repeated.",
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TRACKER",
        help="Experiment tracker: tensorboard (the default), mlflow:URI?experiment=E or wandb:PROJECT; may be "
        "repeated.",
    ),
]
Smoke = Annotated[bool, typer.Option("--smoke-run", help="Train for a few steps only, to check that everything works.")]
Start = Annotated[
    str | None,
    typer.Option(metavar="DETECTOR|RUN", help="Trained model to start from: a name, a model file, or a run."),
]
AllowSeen = Annotated[
    bool, typer.Option("--allow-seen", help="Allow data on which a model was trained, as far as its package tells.")
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Folder for prepared faces; by default a folder beside the other files of the run."
    ),
]
Targets = Annotated[
    bool,
    typer.Option("--targets", help="List every documented target with its verdict, or why it is not measurable here."),
]
Reports = Annotated[
    list[Path], typer.Argument(metavar="REPORT.json", help="Reports of dfbench run --json.", show_default=False)
]
RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="FOLDER|URL",
        help="Model registry; by default the one that DEEPFAKE_REGISTRY names, or a folder in your data directory.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="Public key that must have signed the model; by default the one that DEEPFAKE_REGISTRY_KEY names, if any.",
        show_default=False,
    ),
]

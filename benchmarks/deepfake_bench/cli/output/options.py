"""Options that several commands share."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


class Backend(enum.StrEnum):
    """What runs the network."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"
    torch = "torch"


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; by default what the machine allows.")]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="OWNER/NAME|FOLDER",
        help="Weights for a named detector: a repository of the Hugging Face Hub, or a folder.",
    ),
]
Download = Annotated[
    bool, typer.Option("--download", help="Let the Hugging Face Hub be asked for weights that are not in its cache.")
]
RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="FOLDER|URL",
        help="The registry; by default DEEPFAKE_REGISTRY, or else a folder among your data.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="Public key that must have signed the model; by default DEEPFAKE_REGISTRY_KEY, or else none.",
        show_default=False,
    ),
]

"""A warning about labelled images that are too few to check a low precision on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


def warn_of_few(loaded: LoadedDetector, data: str, options: Mapping[str, Any]) -> None:
    """Warn on standard error where one labelled image can decide whether a low precision passes its check.

    Args:
        loaded: Detector that is exported; the AUC of untrained weights means nothing, so there is no warning.
        data: Name of the data, as the user gave it.
        options: Options of the exporter; the labels in it are int64 [N] in {0, 1}.
    """
    from deepfake_exports.parity import too_few

    if "labels" in options and loaded.manifest.weights != "untrained" and (few := too_few(options["labels"])):
        typer.echo(f"warning: {loaded.manifest.name}, {data}: {few}", err=True)

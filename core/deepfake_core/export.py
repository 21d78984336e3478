"""Export a detector: write its network in another file format, by an exporter that a plugin offers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_core.discovery.plugins import exporter_spec, import_object

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


def export_detector(
    detector: LoadedDetector,
    format: str = "onnx",
    precision: str = "fp32",
    *,
    out: str | os.PathLike[str],
    **options: Any,
) -> Path:
    """Write a detector's network in another format, once the exported file has been shown to agree with it.

    Args:
        detector: Detector whose network is at hand.
        format: Format of an installed exporter, such as ``"onnx"``.
        precision: ``"fp32"``, or a smaller one that the format offers.
        out: File to write.
        **options: Options that are passed on to the exporter, such as ``calibration_images``
            (``uint8 [N, H, W, 3]`` RGB) and ``labels`` (``int64 [N]``, 1 is fake).

    Returns:
        Path of the file that was written.

    Raises:
        ParityError: The export disagrees with the network; nothing is written.
        DeepfakeError: No exporter for the format is installed, or it does not offer the precision.
        WeightsUnavailable: Only an exported file is at hand, from which no network can be rebuilt.
        MissingExtra: A package that the exporter needs is not installed.
    """
    spec = exporter_spec(format)
    parts = (detector.detector, detector.network, detector.manifest.embedded())
    export = import_object(spec.exporter, install=spec.install)
    path: Path = export(*parts, Path(out), precision=precision, **options)
    return path

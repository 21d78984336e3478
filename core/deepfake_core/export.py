"""Export a detector: write its network in another file format, by an exporter that a plugin offers."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_core.discovery.plugins import exporter_spec, exporters, import_object
from deepfake_core.errors import DeepfakeError, MissingExtra, ParityError
from deepfake_registry.files import check_writable

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

_BYTES = {"fp32": 4, "fp16-storage": 2, "bf16": 2}  # of each weight; 1 in any other precision


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
        DeepfakeError: No exporter for the format is installed, it does not offer the precision, or ``out`` cannot be
            written.
        WeightsUnavailable: Only an exported file is at hand, from which no network can be rebuilt.
        MissingExtra: A package that the exporter needs is not installed.
    """
    check_export(format, precision, out, labelled=options.get("labels") is not None)
    spec = exporter_spec(format)
    parts = (detector.detector, detector.network, detector.manifest.embedded())
    weights = sum(parameter.numel() for parameter in detector.network.parameters())
    check_writable(Path(out), needs_bytes=weights * _BYTES.get(precision, 1))
    export = import_object(spec.exporter, install=spec.install)
    try:
        path: Path = export(*parts, Path(out), precision=precision, **options)
    except ParityError as error:
        milder = spec.precisions[: spec.precisions.index(precision)]
        if not milder:
            raise
        raise ParityError(f"{error}; try {' or '.join(reversed(milder[1:] or milder))}") from error
    return path


def check_export(format: str, precision: str, out: str | os.PathLike[str], *, labelled: bool) -> None:
    """Refuse an export that would fail after some work.

    Args:
        format: Format of an installed exporter.
        precision: Precision that the file is to have.
        out: File to write, or the folder of a package, which has no suffix.
        labelled: Whether there are labelled pictures.

    Raises:
        DeepfakeError: There is no such format or precision, labelled pictures are missing, or ``out`` cannot be written
            or has the suffix of another format.
        MissingExtra: A package that the precision needs is not installed.
    """
    spec = exporter_spec(format)
    if precision not in spec.precisions:
        others = [name for name, other in exporters().items() if precision in other.spec.precisions]
        hint = f", or the format {' or '.join(others)}" if others else ""
        raise DeepfakeError(
            f"the format {format} has no precision {precision!r}; choose one of {', '.join(spec.precisions)}{hint}"
        )
    module, requirement = spec.needs.get(precision, ("", ""))
    if module and find_spec(module) is None:
        raise MissingExtra(f"{precision} in the format {format} (module {module!r})", requirement)
    if precision == "int8" and not labelled:
        raise DeepfakeError(
            "int8 is tuned and checked on labelled pictures; name some: --data FOLDER (calibration_images and labels)"
        )
    out = Path(out)
    if out.suffix and out.suffix.lower() != spec.suffix:
        raise DeepfakeError(
            f"{out}: a file of the format {format} ends in {spec.suffix}; name it {out.with_suffix(spec.suffix)}"
            + "".join(
                f", or choose --format {name} (format={name!r})"
                for name, other in exporters().items()
                if other.spec.suffix == out.suffix.lower()
            )
        )
    check_writable(out)

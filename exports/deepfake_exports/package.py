"""Write the packaged model that a distribution ships: an exported artefact and the weights that it was made from."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import save_file

from deepfake_core.discovery.artifacts import WEIGHTS_FILE, Package, write_package
from deepfake_core.discovery.plugins import exporter_spec
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_registry.manifest import MANIFEST_KEY


def export_package(detector: LoadedDetector, format: str, precision: str, out: Path, **options: Any) -> Package:
    """Export a detector and write the artefact, its weights in half precision and the manifest to ``out``.

    The torch runtime and further training use the half-precision weights; both compute in float32.

    Args:
        detector: Trained detector whose network is at hand.
        format: Format of an installed exporter.
        precision: Precision that the exporter offers.
        out: Folder to write; a package in it is replaced.
        **options: Options that are passed on to the exporter.

    Returns:
        The package in ``out``.

    Raises:
        ParityError: The export disagrees with the network; an older package in ``out`` stays as it is.
    """
    manifest = detector.manifest
    with TemporaryDirectory() as scratch:
        name = f"{manifest.name}{exporter_spec(format).suffix}"
        artefact = detector.export(format, precision, out=Path(scratch) / name, **options)
        weights = Path(scratch) / f"{manifest.name}.safetensors"
        state = {
            name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
            for name, value in detector.network.state_dict().items()
        }
        save_file(state, weights, {MANIFEST_KEY: manifest.embedded().model_dump_json()})
        files = {format: artefact, "safetensors": weights}
        if format in WEIGHTS_FILE:
            files[WEIGHTS_FILE[format]] = artefact.with_suffix(".bin")
        groups = detector.package.groups_file() if detector.package else None
        return write_package(out, manifest, files, groups)

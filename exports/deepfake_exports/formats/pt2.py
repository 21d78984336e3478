"""Export to the archive of ``torch.export``, which AOTInductor and ExecuTorch compile for servers and phones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepfake_core.contract.detector import Detector
from deepfake_exports.parity import gate_outputs, probes, torch_run
from deepfake_exports.request import OFFERED, Precision, check_request, example_of, graph_of
from deepfake_registry.files import atomic_path
from deepfake_registry.manifest import MANIFEST_KEY, ModelManifest


def export_pt2(
    detector: Detector,
    network: nn.Module,
    manifest: ModelManifest,
    out: Path,
    *,
    precision: Precision = "fp32",
    calibration_images: NDArray[np.uint8] | None = None,
    labels: NDArray[np.int64] | None = None,  # noqa: ARG001 - exporters share one signature
    logits: NDArray[np.float32] | None = None,  # noqa: ARG001
) -> Path:
    """Write ``network`` to ``out`` (``….pt2``) as an exported program, its manifest among the extra files.

    The arguments are those of :func:`deepfake_exports.formats.onnx.export_onnx`; ``fp32`` is the only precision. Such
    an archive may hold pickled objects, so :func:`deepfake_core.load` refuses it; open archives that you trust by
    ``torch.export.load``.

    Raises:
        ParityError: The file would not agree with the network; nothing is written.
        DeepfakeError: The request cannot be served.
    """
    check_request(detector, manifest, precision, OFFERED["pt2"], calibration_images)
    model = graph_of(network, manifest)
    with atomic_path(out) as target:
        program = torch.export.export(
            model, (example_of(manifest),), dynamic_shapes={"images": {0: torch.export.Dim("N")}}
        )
        archive = target.with_name(f"{target.name}.pt2")  # torch refuses any other suffix
        try:
            torch.export.save(program, archive, extra_files={MANIFEST_KEY: manifest.embedded().model_dump_json()})
            archive.replace(target)
        finally:
            archive.unlink(missing_ok=True)
        with target.open("rb") as stream:
            exported = torch_run(torch.export.load(stream).module(), manifest)
        images = probes(manifest.preprocess, calibration_images)
        gate_outputs(f"{out} (pt2)", torch_run(model, manifest), exported, images, detector.logit_tolerance)
    return Path(out)

"""Export to TorchScript, for programs that embed libtorch."""

from __future__ import annotations

import warnings
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


def export_torchscript(
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
    """Write ``network`` to ``out`` as frozen TorchScript, its manifest among the extra files.

    The arguments are those of :func:`deepfake_exports.formats.onnx.export_onnx`; ``fp32`` is the only precision.

    Raises:
        ParityError: The file would not agree with the network; nothing is written.
        DeepfakeError: The request cannot be served.
    """
    check_request(detector, manifest, precision, OFFERED["torchscript"], calibration_images)
    model = graph_of(network, manifest)
    with atomic_path(out) as target, warnings.catch_warnings():
        # torch deprecates the whole format; users choose it knowingly.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=DeprecationWarning)
        # Tracing reads every attribute of every module, including deprecated ones of other libraries.
        warnings.filterwarnings("ignore", message=r".*is deprecated", category=FutureWarning)
        traced = torch.jit.freeze(torch.jit.trace(model, (example_of(manifest),)))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(target), _extra_files={MANIFEST_KEY: manifest.embedded().model_dump_json()})
        exported = torch_run(torch.jit.load(str(target), map_location="cpu"), manifest)  # type: ignore[no-untyped-call]
        images = probes(manifest.preprocess, calibration_images)
        gate_outputs(f"{out} (torchscript)", torch_run(model, manifest), exported, images, detector.logit_tolerance)
    return Path(out)

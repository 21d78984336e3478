"""Export to OpenVINO's IR: an ``.xml`` graph with its ``.bin`` weights beside it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from torch import nn

from deepfake_core.detector import Detector
from deepfake_core.errors import MissingExtra
from deepfake_core.runtimes.base import Outputs
from deepfake_exports.onnx import save, trace
from deepfake_exports.parity import Run, gate_outputs, probes, torch_run
from deepfake_exports.request import Precision, check_request, graph_of
from deepfake_registry.files import atomic_path
from deepfake_registry.manifest import ModelManifest

try:
    import openvino
except ModuleNotFoundError:
    raise MissingExtra("export to OpenVINO", "deepfake-core[openvino]") from None

RT_INFO = ["deepfake", "manifest"]
"""Where the manifest lies in the model's runtime information."""


def export_openvino(
    detector: Detector,
    network: nn.Module,
    manifest: ModelManifest,
    out: Path,
    *,
    precision: Precision = "fp32",
    calibration_images: NDArray[np.uint8] | None = None,
    labels: NDArray[np.int64] | None = None,  # noqa: ARG001 - exporters share one signature
) -> Path:
    """Write ``network`` to ``out`` (``….xml``) and its weights beside it (``….bin``).

    Arguments are those of :func:`deepfake_exports.onnx.export_onnx`; ``fp32`` is the only precision.

    Raises:
        ParityError: The files would not agree with the network; nothing is written.
        DeepfakeError: The request cannot be served.
    """
    check_request(detector, manifest, precision, ("fp32",), calibration_images)
    out = Path(out).with_suffix(".xml")
    model = graph_of(network, manifest)
    with TemporaryDirectory() as scratch:
        graph, xml = Path(scratch) / "model.onnx", Path(scratch) / "model.xml"
        save(trace(model, manifest), manifest, graph, precision)
        converted = openvino.convert_model(graph)
        converted.set_rt_info(manifest.embedded().model_dump_json(), RT_INFO)
        openvino.save_model(converted, xml, compress_to_fp16=False)
        images = probes(manifest.preprocess, calibration_images)
        gate_outputs(f"{out} (openvino)", torch_run(model, manifest), openvino_run(xml), images)
        # Weights first, and no graph beside weights that are not its own.
        out.unlink(missing_ok=True)
        for made, final in ((xml.with_suffix(".bin"), out.with_suffix(".bin")), (xml, out)):
            with atomic_path(final) as temporary:
                temporary.write_bytes(made.read_bytes())
    return out


def openvino_run(path: Path) -> Run:
    """Run an IR on the CPU in full float32 (where the CPU has bf16, OpenVINO would otherwise round to it)."""
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [output.get_any_name() for output in compiled.outputs]

    def run(images: NDArray[np.uint8]) -> Outputs:
        return Outputs.named(dict(zip(names, compiled([images]).values(), strict=True)))

    return run

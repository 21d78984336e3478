"""The exporters of this package, as the records of a plugin."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.contract.hookspecs import hookimpl
from deepfake_core.contract.specs import ExporterSpec

EXPORTERS = (
    ExporterSpec(
        name="onnx",
        summary="ONNX, for ONNX Runtime and most other runtimes",
        exporter="deepfake_exports.formats.onnx:export_onnx",
        suffix=".onnx",
        precisions=("fp32", "fp16-storage", "int8-weights", "int8"),
    ),
    ExporterSpec(
        name="openvino",
        summary="OpenVINO IR: an .xml graph with its .bin weights beside it",
        exporter="deepfake_exports.formats.openvino:export_openvino",
        suffix=".xml",
        precisions=("fp32", "fp16-storage", "bf16", "int8"),
        install="deepfake-core[torch,openvino]",
        needs={"int8": ("nncf", "deepfake-core[openvino-int8]")},
    ),
    ExporterSpec(
        name="pt2",
        summary="torch.export archive, for AOTInductor and ExecuTorch",
        exporter="deepfake_exports.formats.pt2:export_pt2",
        suffix=".pt2",
    ),
    ExporterSpec(
        name="torchscript",
        summary="TorchScript, for programs that embed libtorch",
        exporter="deepfake_exports.formats.torchscript:export_torchscript",
        suffix=".pt",
    ),
)


@hookimpl
def deepfake_exporters() -> Iterable[ExporterSpec]:
    """Yield the formats of :mod:`deepfake_exports.formats`."""
    yield from EXPORTERS

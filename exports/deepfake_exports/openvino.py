"""Export to OpenVINO's IR: an ``.xml`` graph with its ``.bin`` weights beside it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from deepfake_core.artifacts import WEIGHTS_HASH, read_bare
from deepfake_core.detector import Detector
from deepfake_core.errors import MissingExtra
from deepfake_core.runtimes.openvino import OpenVinoRuntime
from deepfake_exports.lowprecision import CALIBRATION_IMAGES
from deepfake_exports.onnx import save, trace
from deepfake_exports.parity import (
    LabelledImages,
    Run,
    change_of,
    gate_drift,
    gate_outputs,
    gate_scores,
    probes,
    scores_of,
    spread,
    torch_run,
)
from deepfake_exports.request import OFFERED, Precision, check_request, graph_of, labelled
from deepfake_registry.files import atomic_path, sha256_file
from deepfake_registry.manifest import ModelManifest

try:
    import openvino
except ModuleNotFoundError:
    raise MissingExtra("export to OpenVINO", "deepfake-core[openvino]") from None

RT_INFO = "deepfake"
"""Under this name the manifest and the hash of the weights lie in the model's runtime information."""
RESTORED = 8
"""Groups of layers that int8 may take back to float; beyond, little speed is left."""
RANKED_ON = 32
"""Pictures on which it is measured which group hurts most."""


def export_openvino(
    detector: Detector,
    network: nn.Module,
    manifest: ModelManifest,
    out: Path,
    *,
    precision: Precision = "fp32",
    calibration_images: NDArray[np.uint8] | None = None,
    labels: NDArray[np.int64] | None = None,
) -> Path:
    """Write ``network`` to ``out`` (``….xml``) and its weights beside it (``….bin``).

    Arguments are those of :func:`deepfake_exports.onnx.export_onnx`. ``fp16-storage`` halves the file and still
    computes in float32; ``int8`` quantises with NNCF, and takes layers back to float until the accuracy holds.

    Raises:
        ParityError: The files would not agree with the network; nothing is written.
        MissingExtra: ``int8`` needs NNCF.
        DeepfakeError: The request cannot be served, such as ``int8`` without labelled pictures.
    """
    check_request(detector, manifest, precision, OFFERED["openvino"], calibration_images)
    data = labelled(calibration_images, labels) if precision == "int8" or labels is not None else None
    out = Path(out).with_suffix(".xml")
    model = graph_of(network, manifest)
    images = probes(manifest.preprocess, calibration_images)
    reference = torch_run(model, manifest)
    with TemporaryDirectory() as folder:
        scratch = Path(folder)
        graph = scratch / "model.onnx"
        save(trace(model, manifest), manifest, graph, "fp32")
        converted = openvino.convert_model(graph)
        xml = _save(converted, manifest, scratch / "fp32.xml")
        exact = openvino_run(xml)
        gate_outputs(f"{out} (openvino, fp32)", reference, exact, images)
        if precision == "fp16-storage":
            xml = _save(converted, manifest, scratch / "fp16.xml", half=True)
            gate_drift(f"{out} (openvino, {precision})", exact, openvino_run(xml), images, manifest.calibration)
        if precision != "fp32" and data is not None:
            before = scores_of(reference, data.images)
            if precision == "int8":
                xml = _quantised(converted, manifest, data, before, scratch)
            gate_scores(f"{out} (openvino, {precision})", before, openvino_run(xml), data, manifest.calibration)
        # Weights first, and no graph beside weights that are not its own.
        out.unlink(missing_ok=True)
        for made, final in ((xml.with_suffix(".bin"), out.with_suffix(".bin")), (xml, out)):
            with atomic_path(final) as temporary:
                temporary.write_bytes(made.read_bytes())
    return out


def openvino_run(path: Path) -> Run:
    """Run an IR that this module wrote, on the CPU in float32."""
    return OpenVinoRuntime(read_bare(path)).run


def _save(model: Any, manifest: ModelManifest, path: Path, *, half: bool = False) -> Path:
    """Write a model with its manifest and the hash of its weights, which a first writing tells."""
    model.set_rt_info(manifest.embedded().model_dump_json(), [RT_INFO, "manifest"])
    openvino.save_model(model, path, compress_to_fp16=half)
    model.set_rt_info(sha256_file(path.with_suffix(".bin")), [RT_INFO, WEIGHTS_HASH])
    openvino.save_model(model, path, compress_to_fp16=half)
    return path


def _quantised(
    model: Any, manifest: ModelManifest, data: LabelledImages, before: NDArray[np.float32], scratch: Path
) -> Path:
    """Quantise by NNCF; where AUC moves by too much, again with the layers that hurt most left in float."""
    try:
        import nncf
    except ModuleNotFoundError:
        raise MissingExtra("int8 for OpenVINO", "deepfake-core[openvino-int8]") from None

    def room(after: NDArray[np.float32]) -> float:
        """How far the judgement is from where the gate closes: 1 for no change, 0 for all that is allowed."""
        return 1 - change_of(before, after, data.fake, manifest.calibration).share

    calibration = nncf.Dataset(list(spread(data.images, CALIBRATION_IMAGES)[:, None]))
    settings: dict[str, Any] = {"preset": nncf.QuantizationPreset.MIXED, "subset_size": CALIBRATION_IMAGES}
    if _attends(model):
        settings["model_type"] = nncf.ModelType.TRANSFORMER
    path = _save(nncf.quantize(model, calibration, **settings), manifest, scratch / "int8.xml")
    if room(scores_of(openvino_run(path), data.images)) >= 0:
        return path
    quantised = nncf.quantize_with_accuracy_control(
        model,
        calibration,
        nncf.Dataset(list(data.images[:, None])),
        lambda compiled, items: room(np.concatenate([compiled(item)["logit"] for item in items])),
        max_drop=1.0,
        drop_type=nncf.DropType.ABSOLUTE,
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            max_num_iterations=RESTORED, ranking_subset_size=RANKED_ON
        ),
        **settings,
    )
    return _save(quantised, manifest, path)


def _attends(model: Any) -> bool:
    """Whether there is attention, whose quantisation NNCF treats in a way of its own."""
    return any(node.get_type_name() in ("Softmax", "ScaledDotProductAttention") for node in model.get_ops())

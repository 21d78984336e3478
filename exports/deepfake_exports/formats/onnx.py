"""Export to ONNX: a graph from ``images`` uint8 [N, H, W, 3] to ``logit`` float32 [N], with the manifest inside."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import onnxslim
import torch
from numpy.typing import NDArray
from torch import nn

from deepfake_core.contract.detector import Detector
from deepfake_core.runtimes.base import Outputs
from deepfake_exports import lowprecision
from deepfake_exports.parity import (
    Change,
    LabelledImages,
    Run,
    change_of,
    gate_changes,
    gate_drift,
    gate_outputs,
    gate_scores,
    known_scores,
    probes,
    scores_of,
    spread,
    torch_run,
)
from deepfake_exports.request import OFFERED, Precision, check_request, example_of, graph_of, labelled
from deepfake_registry.files import atomic_path
from deepfake_registry.manifest import MANIFEST_KEY, ModelManifest

IN_FLOAT = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Shares of the layers that int8 keeps in float; they are tried in this order until the scores pass the gate."""
RANKED_ON = 32
"""Number of images on which the error that each quantised layer adds is measured."""
OPSET = 18  # torch writes this version natively; any other goes through its version converter
PRODUCER = "deepfake-core"
STORAGE = {
    "fp16-storage": (lowprecision.round_to_half, lowprecision.store_as_half),
    "int8-weights": (lowprecision.round_to_int8, lowprecision.store_as_int8),
}
"""Precision that only makes the file smaller → function that rounds the weights, function that stores them."""


def export_onnx(
    detector: Detector,
    network: nn.Module,
    manifest: ModelManifest,
    out: Path,
    *,
    precision: Precision = "fp32",
    calibration_images: NDArray[np.uint8] | None = None,
    labels: NDArray[np.int64] | None = None,
    logits: NDArray[np.float32] | None = None,
) -> Path:
    """Write ``network`` to ``out`` as ONNX, once the file has been shown to agree with it in ONNX Runtime.

    Args:
        detector: Detector that built the network.
        network: Trained network, on any device; it is not changed.
        manifest: Manifest that is stored in the file; it decides the preprocessing and the outputs.
        out: File to write; an older one is replaced, and only after success.
        precision: ``fp16-storage`` halves the file and computes in float32; ``int8-weights`` makes it a quarter and
            computes in float32, too; ``int8`` quantises statically and per channel. It keeps normalisation and heads
            in float, and of the other layers those that cost most accuracy: as few as possible, at most half of them.
        calibration_images: Images ``uint8 [N, H, W, 3]`` RGB from the validation split; parity is checked on them too.
        labels: Labels ``int64 [N]`` of these images, 1 = fake; ``int8`` needs them. Where they are given, every
            precision but ``fp32`` must keep the AUC and the probabilities of these images.
        logits: The network's logits ``float32 [N]`` of these images, where they are known; otherwise it computes them.

    Returns:
        ``out``.

    Raises:
        ParityError: The file would not agree with the network; nothing is written.
        DeepfakeError: The request cannot be served, such as ``int8`` without labelled images.
    """
    check_request(detector, manifest, precision, OFFERED["onnx"], calibration_images)
    data = labelled(calibration_images, labels, logits) if precision == "int8" or labels is not None else None
    model = graph_of(network, manifest)
    images = probes(manifest.preprocess, calibration_images)
    reference = torch_run(model, manifest)
    with atomic_path(out) as target, TemporaryDirectory() as scratch:
        plain = target if precision == "fp32" else Path(scratch) / "fp32.onnx"
        save(trace(model, manifest), manifest, plain, "fp32")
        exact = ort_run(plain)
        gate_outputs(f"{out} (fp32)", reference, exact, images, detector.logit_tolerance)
        if precision in STORAGE:
            # The first check is that the storage is lossless, the second that rounding the weights is harmless.
            round_weights, store_weights = STORAGE[precision]
            rounded = Path(scratch) / "rounded.onnx"
            save(round_weights(onnx.load(plain)), manifest, rounded, "fp32")
            save(store_weights(onnx.load(plain)), manifest, target, precision)
            gate_outputs(f"{out} ({precision})", ort_run(rounded), ort_run(target), images, detector.logit_tolerance)
            gate_drift(f"{out} ({precision})", exact, ort_run(target), images, manifest.calibration)
        if precision != "fp32" and data is not None:
            before = known_scores(reference, data)
            if precision == "int8":
                changes = _save_int8(plain, manifest, data, before, target, Path(scratch))
                gate_changes(f"{out} ({precision})", changes, data.fake)
            else:
                gate_scores(f"{out} ({precision})", before, ort_run(target), data, manifest)
    return Path(out)


def _save_int8(
    plain: Path,
    manifest: ModelManifest,
    data: LabelledImages,
    before: NDArray[np.float32],
    target: Path,
    scratch: Path,
) -> dict[str, Change]:
    """Quantise all layers; while the scores change too much, put more of the costliest layers back to float.

    Returns:
        Number of layers in float, as text → change of the scores; the last trial is the one that was written.
    """
    changes: dict[str, Change] = {}
    few = spread(np.arange(len(before)), RANKED_ON)
    trial = scratch / "trial.onnx"

    def drift(proto: onnx.ModelProto) -> float:
        save(proto, manifest, trial, "int8")
        return float(np.abs(scores_of(ort_run(trial), data.images[few]) - before[few]).mean())

    quantised, floating = lowprecision.quantise(plain, data.images, scratch)
    ranked: list[str] = []
    for share in (0.0, *IN_FLOAT):
        if share and not ranked:
            ranked = lowprecision.by_sensitivity(quantised, floating, drift)
        layers = ranked[: math.ceil(share * len(ranked))]
        save(lowprecision.in_float(quantised, floating, layers), manifest, target, "int8")
        change = change_of(before, scores_of(ort_run(target), data.images), data.fake, manifest)
        changes[f"{len(layers)} layers in float"] = change
        if change.share_of_limit <= 1:
            break
    return changes


def trace(model: nn.Module, manifest: ModelManifest) -> onnx.ModelProto:
    """Trace preprocessing and network with a dynamic batch size, and simplify the graph."""
    with warnings.catch_warnings():
        # torch.export uses a name that torch itself deprecates.
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)", category=FutureWarning)
        program = torch.onnx.export(
            model,
            (example_of(manifest),),
            dynamo=True,
            input_names=["images"],
            output_names=[output.name for output in manifest.outputs],
            dynamic_shapes={"images": {0: torch.export.Dim("N")}},
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    slim: onnx.ModelProto = onnxslim.slim(program.model_proto)
    return slim


def save(proto: onnx.ModelProto, manifest: ModelManifest, path: Path, precision: Precision) -> None:
    """Write a graph with its manifest and without debugging metadata, whose stack traces name local paths."""
    graph = proto.graph
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph):
        del part.metadata_props[:]
        part.doc_string = ""
    del proto.metadata_props[:]
    proto.producer_name = PRODUCER
    proto.producer_version = manifest.version
    embedded = {MANIFEST_KEY: manifest.embedded().model_dump_json(), "deepfake.precision": precision}
    onnx.helper.set_model_props(proto, embedded)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def ort_run(path: Path) -> Run:
    """Return a function that runs an ONNX file on the CPU in ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: NDArray[np.uint8]) -> Outputs:
        return Outputs.named(dict(zip(names, session.run(names, {"images": images}), strict=True)))

    return run

"""Export to OpenVINO's IR: an ``.xml`` graph with its ``.bin`` weights beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from deepfake_core.contract.detector import Detector
from deepfake_core.discovery.artifacts import WEIGHTS_HASH, read_bare
from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.runtimes.openvino import COMPUTE, RT_INFO, OpenVinoRuntime, computes_bf16
from deepfake_core.timing import medians_ms
from deepfake_exports.formats.onnx import save, trace
from deepfake_exports.lowprecision import CALIBRATION_IMAGES
from deepfake_exports.parity import (
    TIMED,
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
from deepfake_exports.request import OFFERED, Precision, check_request, graph_of, labelled
from deepfake_registry.files import atomic_path, sha256_file
from deepfake_registry.manifest import ModelManifest

try:
    import openvino
except ModuleNotFoundError:
    raise MissingExtra("export to OpenVINO", "deepfake-core[openvino]") from None

RESTORED = 8
"""Largest number of groups of layers that int8 may put back to float; with more, little of the speed is left."""
RANKED_ON = 32
"""Number of images on which the error that each group of layers adds is measured."""


def export_openvino(
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
    """Write ``network`` to ``out`` (``….xml``) and its weights beside it (``….bin``).

    The arguments are those of :func:`deepfake_exports.formats.onnx.export_onnx`; only the precisions differ.
    ``fp16-storage`` halves the files and computes in float32. ``bf16`` halves them and computes in bfloat16 on
    processors that support it, elsewhere in float32. ``int8`` is quantised by NNCF in several ways, and the fastest one
    whose scores pass the gate is taken; where none passes, layers are put back to float.

    Returns:
        Path of the ``.xml`` file.

    Raises:
        ParityError: The files would not agree with the network; nothing is written.
        MissingExtra: ``int8`` needs NNCF, which is not installed.
        DeepfakeError: The request cannot be served: ``int8`` without labelled images, or ``bf16`` on a processor
            without it, which could not verify the files.
    """
    check_request(detector, manifest, precision, OFFERED["openvino"], calibration_images)
    if precision == "bf16" and not computes_bf16():
        raise DeepfakeError("this processor does not compute in bfloat16, so the export could not be verified here")
    data = labelled(calibration_images, labels, logits) if precision == "int8" or labels is not None else None
    out = Path(out).with_suffix(".xml")
    what = f"{out} (openvino, {precision})"
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
        gate_outputs(f"{out} (openvino, fp32)", reference, exact, images, detector.logit_tolerance)
        if precision in ("fp16-storage", "bf16"):
            compute = "bf16" if precision == "bf16" else "f32"
            xml = _save(converted, manifest, scratch / "half.xml", half=True, compute=compute)
            gate_drift(what, exact, openvino_run(xml), images, manifest.calibration)
        if precision != "fp32" and data is not None:
            before = known_scores(reference, data)
            if precision == "int8":
                xml = _Int8(converted, manifest, data, before, scratch).fastest(what)
            else:
                gate_scores(what, before, openvino_run(xml), data, manifest)
        # The weights are written first, so that a graph never stands beside weights of another one.
        out.unlink(missing_ok=True)
        for made, final in ((xml.with_suffix(".bin"), out.with_suffix(".bin")), (xml, out)):
            with atomic_path(final) as temporary:
                temporary.write_bytes(made.read_bytes())
    return out


def openvino_run(path: Path) -> Run:
    """Return a function that runs an IR of this module on the CPU, in the precision that it asks for."""
    return OpenVinoRuntime(read_bare(path)).run


def _save(model: Any, manifest: ModelManifest, path: Path, *, half: bool = False, compute: str = "f32") -> Path:
    """Write a model with its manifest, its compute precision and the hash of its weights.

    It is written twice, because the hash is known only after the weights have been written once.
    """
    model.set_rt_info(manifest.embedded().model_dump_json(), [RT_INFO, "manifest"])
    model.set_rt_info(compute, [RT_INFO, COMPUTE])
    openvino.save_model(model, path, compress_to_fp16=half)
    model.set_rt_info(sha256_file(path.with_suffix(".bin")), [RT_INFO, WEIGHTS_HASH])
    openvino.save_model(model, path, compress_to_fp16=half)
    return path


@dataclass(frozen=True, slots=True)
class _Int8:
    """Quantisation of one model to int8.

    Attributes:
        model: The model in float32, as OpenVINO reads it.
        manifest: Manifest of the model.
        data: Labelled inputs that set the ranges of activations and on which scores are compared.
        before: The network's logits ``float32 [N]`` of these inputs.
        scratch: Folder for the files that are tried.
    """

    model: Any
    manifest: ModelManifest
    data: LabelledImages
    before: NDArray[np.float32]
    scratch: Path

    def fastest(self, what: str) -> Path:
        """Return the fastest file whose scores pass the gate.

        Each network is quantised with and without moving the range of activations into the weights (SmoothQuant, Xiao
        et al. 2022, arXiv 2211.10438). Layers that stay in float are computed in float32 and, where the processor
        supports it, in bfloat16.

        Args:
            what: Name of the export in the message of an error.

        Raises:
            ParityError: No file passes.
        """
        import nncf

        plain = nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
        ways = {
            "without SmoothQuant": nncf.AdvancedQuantizationParameters(smooth_quant_alphas=plain),
            "with SmoothQuant": nncf.AdvancedQuantizationParameters(),
        }
        if not _attends(self.model):
            del ways["with SmoothQuant"]  # it applies to products of matrices only
        changes: dict[str, Change] = {}
        files: dict[str, Path] = {}
        runs: dict[str, Run] = {}
        for name, advanced in ways.items():
            quantised = nncf.quantize(self.model, self._calibration(), advanced_parameters=advanced, **self._settings())
            for compute in ("f32", "bf16") if computes_bf16() else ("f32",):
                key = f"{name}, rest in {compute}"
                files[key] = _save(quantised, self.manifest, self.scratch / f"{len(files)}.xml", compute=compute)
                runs[key] = openvino_run(files[key])
                changes[key] = self._change(scores_of(runs[key], self.data.images))
        if all(change.share_of_limit > 1 for change in changes.values()):
            way = min(changes, key=lambda key: changes[key].share_of_limit).split(", ")[0]
            key = f"{way}, up to {RESTORED} groups of layers in float"
            files[key] = _save(self._restored(ways[way]), self.manifest, self.scratch / "restored.xml")
            runs[key] = openvino_run(files[key])
            changes[key] = self._change(scores_of(runs[key], self.data.images))
        gate_changes(what, changes, self.data.fake)
        held = [key for key, change in changes.items() if change.share_of_limit <= 1]
        times = medians_ms({key: partial(runs[key], self.data.images[:1]) for key in held}, TIMED)
        return files[min(times, key=times.__getitem__)]

    def _restored(self, advanced: Any) -> Any:
        """Return the model quantised except for the groups of layers that add the largest errors."""
        import nncf

        def accuracy(compiled: Any, items: Any) -> float:
            logits = np.concatenate([compiled(item)["logit"] for item in items])
            return 1 - self._change(logits).share_of_limit

        return nncf.quantize_with_accuracy_control(
            self.model,
            self._calibration(),
            nncf.Dataset(list(self.data.images[:, None])),
            accuracy,
            max_drop=1.0,
            drop_type=nncf.DropType.ABSOLUTE,
            advanced_quantization_parameters=advanced,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                max_num_iterations=RESTORED, ranking_subset_size=RANKED_ON
            ),
            **self._settings(),
        )

    def _change(self, after: NDArray[np.float32]) -> Change:
        return change_of(self.before, after, self.data.fake, self.manifest)

    def _calibration(self) -> Any:
        import nncf

        return nncf.Dataset(list(spread(self.data.images, CALIBRATION_IMAGES)[:, None]))

    def _settings(self) -> dict[str, Any]:
        import nncf

        settings: dict[str, Any] = {"preset": nncf.QuantizationPreset.MIXED, "subset_size": CALIBRATION_IMAGES}
        return settings | ({"model_type": nncf.ModelType.TRANSFORMER} if _attends(self.model) else {})


def _attends(model: Any) -> bool:
    """Whether the model has attention layers, which NNCF quantises differently."""
    return any(node.get_type_name() in ("Softmax", "ScaledDotProductAttention") for node in model.get_ops())

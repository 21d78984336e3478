"""OpenVINO: another light way to run a model on a CPU, from its own format or from ONNX."""

from __future__ import annotations

import threading
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfake_core.discovery.artifacts import Artifact
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, MissingExtra
from deepfake_core.runtimes.base import Outputs, Runtime, check_device, other_tensors
from deepfake_core.runtimes.threads import allowed_threads

try:
    import openvino
except ModuleNotFoundError:
    raise MissingExtra("OpenVINO", "deepfake-core[openvino]") from None


RT_INFO = "deepfake"
"""Under this name a model's runtime information holds its manifest, the hash of its weights, and :data:`COMPUTE`."""
COMPUTE = "compute"
"""What its floats are computed in: ``f32`` or ``bf16``."""


def computes_bf16() -> bool:
    """Whether this processor has instructions for bfloat16."""
    capabilities: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


class OpenVinoRuntime(Runtime):
    """Runs an ``.xml`` artefact with its ``.bin``, or an ``.onnx`` one.

    Floats are computed in float32; in bfloat16 where the file asks for it and the processor does.

    Args:
        artifact: The file and its manifest.
        device: ``"cpu"`` or ``"auto"``, which is the same here.
        threads: Threads of one inference; by default what the machine allows.

    Raises:
        ArtifactCorrupt: OpenVINO cannot load the file, or its tensors are not the manifest's.
        DeepfakeError: Another device was asked for.
    """

    name: ClassVar[str] = "openvino"

    def __init__(self, artifact: Artifact, *, device: str = "auto", threads: int | None = None) -> None:
        check_device(device)
        if device not in ("auto", "cpu"):
            raise DeepfakeError(f"device {device!r}: OpenVINO runs on the CPU here; use another backend")
        self.manifest, self.device = artifact.manifest, "cpu"
        self.threads = threads or allowed_threads()
        settings = {"INFERENCE_NUM_THREADS": str(self.threads), "PERFORMANCE_HINT": "LATENCY"}
        try:
            core = openvino.Core()
            model = core.read_model(artifact.path, artifact.weights)
            key = [RT_INFO, COMPUTE]
            asks = model.get_rt_info(key).astype(str) if model.has_rt_info(key) else "f32"
            # Where the processor has bfloat16, OpenVINO would by itself round to it.
            settings["INFERENCE_PRECISION_HINT"] = "bf16" if asks == "bf16" and computes_bf16() else "f32"
            self._model = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ArtifactCorrupt(f"{artifact.path}: OpenVINO cannot load it: {reason}") from error
        self._input = self.manifest.inputs[0].name
        self._outputs = [spec.name for spec in self.manifest.outputs]
        inputs = {name for port in self._model.inputs for name in port.get_names()}
        outputs = {name for port in self._model.outputs for name in port.get_names()}
        if self._input not in inputs or not outputs.issuperset(self._outputs):
            raise other_tensors(artifact, inputs, outputs)
        self._own = threading.local()  # a request holds the buffers of one inference

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._model.create_infer_request()
        answer = request.infer({self._input: np.ascontiguousarray(images)})
        return Outputs.named({name: answer[name] for name in self._outputs})

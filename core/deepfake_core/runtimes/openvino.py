"""OpenVINO: another light way to run a model on a CPU, from its own format or from ONNX."""

from __future__ import annotations

import threading
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfake_core.artifacts import Artifact
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, MissingExtra
from deepfake_core.runtimes.base import Outputs, Runtime, check_device, other_tensors
from deepfake_core.runtimes.threads import allowed_threads

try:
    import openvino
except ModuleNotFoundError:
    raise MissingExtra("OpenVINO", "deepfake-core[openvino]") from None


class OpenVinoRuntime(Runtime):
    """Runs an ``.xml`` artefact with its ``.bin``, or an ``.onnx`` one, in float32.

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
        settings = {
            # Where the CPU has bf16, OpenVINO would otherwise round to it.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": str(self.threads),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            core = openvino.Core()
            self._model = core.compile_model(core.read_model(artifact.path, artifact.weights), "CPU", settings)
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

"""Runtime for files of OpenVINO and ONNX on a CPU, by OpenVINO; torch is not needed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfake_core.discovery.artifacts import Artifact
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, MissingExtra
from deepfake_core.runtimes.base import Outputs, Runtime, device_name, other_tensors
from deepfake_core.runtimes.forks import fork_waits, never_free, renew_after_fork
from deepfake_core.runtimes.threads import allowed_threads

try:
    import openvino
except ModuleNotFoundError:
    raise MissingExtra("OpenVINO", "deepfake-core[openvino]") from None

# OpenVINO fills its table of NumPy's types at the first inference. If two threads begin one at the same time, each then
# waits for the other, for ever. Here one thread fills it: an import is never run by two.
openvino.Tensor(np.zeros(1, np.float32), shared_memory=True).element_type.to_dtype()


RT_INFO = "deepfake"
"""Key in a model's runtime information that holds its manifest, the hash of its weights, and :data:`COMPUTE`."""
COMPUTE = "compute"
"""Key of the floating-point type that the model asks for: ``f32`` or ``bf16``."""


def computes_bf16() -> bool:
    """Tell whether this processor has instructions for bfloat16."""
    capabilities: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


def one_thread_model(path: Path) -> Any:
    """Compile a file of any format that OpenVINO reads, for inferences that use one thread of the CPU each."""
    return openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": 1})


class OpenVinoRuntime(Runtime):
    """Runtime of an ``.xml`` artefact with its ``.bin``, or of an ``.onnx`` artefact.

    It computes in float32, or in bfloat16 if the file asks for it and the processor has instructions for it.

    Args:
        artifact: Model file and its manifest.
        device: ``"cpu"`` or ``"auto"``, which have the same meaning here.
        threads: Number of threads of one inference; by default the number that the machine allows.

    Raises:
        ArtifactCorrupt: OpenVINO cannot load the file, or its tensors are not those of its manifest.
        DeepfakeError: Another device is requested.
    """

    name: ClassVar[str] = "openvino"

    def __init__(self, artifact: Artifact, *, device: str = "auto", threads: int | None = None) -> None:
        device = device_name(device)
        if device not in ("auto", "cpu"):
            raise DeepfakeError(f"device {device!r}: OpenVINO runs on the CPU here; use device='cpu' (--device cpu)")
        self.manifest, self.device = artifact.manifest, "cpu"
        self.threads = threads or allowed_threads()
        self._artifact = artifact
        self._input = self.manifest.inputs[0].name
        self._outputs = [spec.name for spec in self.manifest.outputs]
        with fork_waits():
            self._model: Any = self._compiled()
        self._lock = threading.Lock()
        self._own = threading.local()  # for each thread its request, with the buffers of one inference
        inputs = {name for port in self._model.inputs for name in port.get_names()}
        outputs = {name for port in self._model.outputs for name in port.get_names()}
        if self._input not in inputs or not outputs.issuperset(self._outputs):
            raise other_tensors(artifact, inputs, outputs)
        renew_after_fork(self)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        with fork_waits():
            request = getattr(self._own, "request", None)
            if request is None:
                with self._lock:
                    if self._model is None:  # in a process that was forked
                        self._model = self._compiled()
                request = self._own.request = self._model.create_infer_request()
            answer = request.infer({self._input: np.ascontiguousarray(images)})
        return Outputs.named({name: answer[name] for name in self._outputs})

    def after_fork(self) -> None:
        """Forget the compiled model, whose threads this process does not have; the next inference compiles it again."""
        for native in (self._model, getattr(self._own, "request", None)):
            never_free(native)
        self._model, self._lock, self._own = None, threading.Lock(), threading.local()

    def _compiled(self) -> Any:
        settings = {"INFERENCE_NUM_THREADS": str(self.threads), "PERFORMANCE_HINT": "LATENCY"}
        path = self._artifact.path
        try:
            core = openvino.Core()
            model = core.read_model(self._artifact.content(), self._artifact.weights_content())
            key = [RT_INFO, COMPUTE]
            asks = model.get_rt_info(key).astype(str) if model.has_rt_info(key) else "f32"
            # By default OpenVINO computes in bfloat16 on any processor that has instructions for it.
            settings["INFERENCE_PRECISION_HINT"] = "bf16" if asks == "bf16" and computes_bf16() else "f32"
            return core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ArtifactCorrupt(f"{path}: OpenVINO cannot load it: {reason}") from error

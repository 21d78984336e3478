"""Runtime for ``.onnx`` files, by ONNX Runtime; torch is not needed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from deepfake_core.discovery.artifacts import Artifact
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, MissingExtra
from deepfake_core.runtimes.base import Outputs, Runtime, device_name, other_tensors
from deepfake_core.runtimes.threads import allowed_threads

_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

# All callers that load the same file with the same settings share one session, which is freed after its last use.
_sessions: WeakValueDictionary[tuple[str, int, str], ort.InferenceSession] = WeakValueDictionary()
_lock = threading.Lock()


class OnnxRuntime(Runtime):
    """Runtime of an ``.onnx`` artefact.

    Args:
        artifact: Model file and its manifest.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``: CUDA if this build of ONNX Runtime supports it, else
            the CPU.
        threads: Number of threads of one inference; by default the number that the machine allows.

    Raises:
        ArtifactCorrupt: The file cannot be loaded, or its tensors are not those of its manifest.
        MissingExtra: CUDA is requested, and this build of ONNX Runtime does not support it.
        DeepfakeError: ONNX Runtime does not run on the device.
    """

    name: ClassVar[str] = "onnxruntime"

    def __init__(self, artifact: Artifact, *, device: str = "auto", threads: int | None = None) -> None:
        self.manifest = artifact.manifest
        self.threads = threads or allowed_threads()
        self.device = _device(device)
        self.session = open_session(artifact.path, artifact.sha256, device=self.device, threads=self.threads)
        self._outputs = [spec.name for spec in self.manifest.outputs]
        self._input = self.manifest.inputs[0].name
        inputs = {item.name for item in self.session.get_inputs()}
        outputs = {item.name for item in self.session.get_outputs()}
        if inputs != {self._input} or not outputs.issuperset(self._outputs):
            raise other_tensors(artifact, inputs, outputs)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        values = dict(zip(self._outputs, self.session.run(self._outputs, {self._input: images}), strict=True))
        return Outputs.named(values)


def open_session(path: Path, sha256: str, *, device: str = "cpu", threads: int | None = None) -> ort.InferenceSession:
    """Load a model file, or return the session that runs it already.

    Args:
        path: Path of the model file.
        sha256: SHA-256 of its content; sessions of the same content, device and number of threads are shared.
        device: Device to run on.
        threads: Number of threads of one inference; by default the number that the machine allows.

    Raises:
        ArtifactCorrupt: ONNX Runtime cannot load the file.
        DeepfakeError: The session does not run on the requested device.
    """
    threads = threads or allowed_threads()
    key = (sha256, threads, device)
    with _lock:
        if (session := _sessions.get(key)) is not None:
            return session
        try:
            session = ort.InferenceSession(str(path), sess_options=_options(threads), providers=_providers(device))
        except _LOAD_ERRORS as error:
            raise ArtifactCorrupt(f"{path}: ONNX Runtime cannot load it: {' '.join(str(error).split())}") from error
        if device != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
            raise DeepfakeError(
                f"device {device!r}: ONNX Runtime could not start CUDA; use --device cpu or device='cpu'"
            )
        _sessions[key] = session
        return session


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Threads that spin while they wait take processor time from the decoding of the next picture and from all other
    # work. Without spinning, inference is twice as fast on a busy machine, and equally fast on an idle one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _device(device: str) -> str:
    device = device_name(device)
    has_cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    if device == "auto":
        return "cuda" if has_cuda else "cpu"
    if device == "mps":
        raise DeepfakeError("device 'mps': ONNX Runtime does not run there; use backend='torch' or device='cpu'")
    if device != "cpu" and not has_cuda:
        raise MissingExtra("ONNX Runtime on CUDA", "onnxruntime-gpu")
    return device


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    index = device.partition(":")[2] or "0"
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]

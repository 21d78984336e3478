"""Runtime for ``.onnx`` files, by ONNX Runtime; torch is not needed."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from deepfake_core.discovery.artifacts import Artifact
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, MissingExtra
from deepfake_core.runtimes.base import (
    DeviceFailed,
    Outputs,
    Runtime,
    device_name,
    note_once,
    other_tensors,
)
from deepfake_core.runtimes.forks import FORKED_GPU, call_after_fork, never_free, renew_after_fork
from deepfake_core.runtimes.threads import allowed_threads

_OF_FILE = (
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
)
_ERRORS = (*_OF_FILE, ort_errors.EPFail, ort_errors.Fail, ort_errors.NotImplemented, ort_errors.RuntimeException)

_LISTED = "CUDAExecutionProvider"
_PROBE = (
    b'\x08\x08:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)  # an ONNX model of one node, y = Relu(x), float32 [1]
_LOG_WARNINGS, _LOG_FATAL = 2, 4
_REMEDY = "update the GPU's driver, pip install 'onnxruntime-gpu[cuda,cudnn]', free memory of the GPU"

# All callers that load the same file with the same settings share one session, which is freed after its last use.
_sessions: WeakValueDictionary[tuple[str, int, str], ort.InferenceSession] = WeakValueDictionary()
_lock = threading.Lock()


class OnnxRuntime(Runtime):
    """Runtime of an ``.onnx`` artefact.

    Args:
        artifact: Model file and its manifest.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``: CUDA if ONNX Runtime can start it and it runs the
            model, else the CPU; one line is logged where a build with CUDA cannot use it.
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
        self.device = usable_device(device)
        self._artifact = artifact
        self._outputs = [spec.name for spec in self.manifest.outputs]
        self._input = self.manifest.inputs[0].name
        try:
            self._start()
        except DeviceFailed as error:
            if device_name(device) != "auto":
                raise
            _note_cpu(error.reason)
            self.device = "cpu"
            self._start()
        renew_after_fork(self)

    def _start(self) -> None:
        """Open the session, and run it once on a GPU, where it may turn out only now that the memory is too small."""
        self._session: ort.InferenceSession | None = self._opened()
        inputs = {item.name for item in self._session.get_inputs()}
        outputs = {item.name for item in self._session.get_outputs()}
        if inputs != {self._input} or not outputs.issuperset(self._outputs):
            raise other_tensors(self._artifact, inputs, outputs)
        if self.device != "cpu":
            self.run(np.zeros((1, *self.manifest.preprocess.input_shape), np.uint8))

    def _opened(self) -> ort.InferenceSession:
        artifact = self._artifact
        return open_session(
            artifact.path, artifact.sha256, read=artifact.content, device=self.device, threads=self.threads
        )

    @property
    def session(self) -> ort.InferenceSession:
        """The session that runs the model; a process that was forked opens its own, from the same file.

        Raises:
            ArtifactCorrupt: The file has changed since the detector was loaded.
            DeepfakeError: The process was forked, and the session ran on a GPU.
        """
        session = self._session
        if session is None:
            if self.device != "cpu":
                raise DeviceFailed(self.device, "ONNX Runtime", *FORKED_GPU)
            session = self._session = self._opened()
        return session

    def after_fork(self) -> None:
        """Forget the session, whose threads this process does not have; the next inference opens one."""
        never_free(self._session)
        self._session = None

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        session = self.session
        try:
            values = session.run(self._outputs, {self._input: images})
        except _ERRORS as error:
            if self.device == "cpu":
                raise
            remedy = "take smaller batches, free memory of the GPU"
            raise DeviceFailed(self.device, "ONNX Runtime", error, remedy) from error
        return Outputs.named(dict(zip(self._outputs, values, strict=True)))


def open_session(
    path: Path,
    sha256: str,
    *,
    read: Callable[[], bytes] | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> ort.InferenceSession:
    """Load a model file, or return the session that runs it already.

    Args:
        path: Path of the model file.
        sha256: SHA-256 of its content; sessions of the same content, device and number of threads are shared.
        read: Function that reads the file and verifies what it read; by default nothing is verified.
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
        content = read() if read is not None else path.read_bytes()
        try:
            session = _session(content, threads, device)
        except _OF_FILE as error:
            raise ArtifactCorrupt(f"{path}: ONNX Runtime cannot load it: {' '.join(str(error).split())}") from error
        except _ERRORS as error:
            if device != "cpu":
                raise DeviceFailed(device, "ONNX Runtime", error, _REMEDY) from error
            raise ArtifactCorrupt(f"{path}: ONNX Runtime cannot load it: {' '.join(str(error).split())}") from error
        if device != "cpu" and _LISTED not in session.get_providers():
            raise DeviceFailed(device, "ONNX Runtime", "it could not start CUDA", _REMEDY)
        _sessions[key] = session
        return session


def _forget_sessions() -> None:
    """Leave the sessions of the process that this one was forked from alone, and take a lock that nobody holds."""
    global _lock
    _lock = threading.Lock()
    for session in list(_sessions.values()):
        never_free(session)
    _sessions.clear()


call_after_fork(_forget_sessions)


@lru_cache
def cuda_failure(device: str = "cuda") -> str:
    """Return why ONNX Runtime cannot start CUDA on a GPU, in one line, or ``""``; each GPU is tried once.

    A build of ONNX Runtime with CUDA lists it on every machine, also without a GPU, its driver, or cuDNN.

    Args:
        device: ``"cuda"`` or ``"cuda:N"``.
    """
    if _LISTED not in ort.get_available_providers():
        return "this build of ONNX Runtime has no CUDA"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(RuntimeError, AttributeError):
        ort.preload_dlls()  # finds the libraries that pip installed
    ort.set_default_logger_severity(_LOG_FATAL)  # otherwise it writes up to ten lines about each failure
    try:
        session = _session(_PROBE, 1, device)
        if _LISTED not in session.get_providers():
            return "the libraries of CUDA or cuDNN, or the driver, are missing or too old"
        session.run(None, {"x": np.zeros(1, np.float32)})
    except _ERRORS as error:
        return " ".join(str(error).split())
    finally:
        ort.set_default_logger_severity(_LOG_WARNINGS)
    return ""


def _session(model: bytes, threads: int, device: str) -> ort.InferenceSession:
    # With its own fallback, ONNX Runtime would print to standard output, and go on on the CPU.
    return ort.InferenceSession(model, sess_options=_options(threads), providers=_providers(device), enable_fallback=0)


def _note_cpu(reason: str) -> None:
    note_once(f"ONNX Runtime cannot use CUDA ({reason}); it runs on the CPU")


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_FATAL  # errors are raised, too
    # Threads that spin while they wait take processor time from the decoding of the next picture and from all other
    # work. Without spinning, inference is twice as fast on a busy machine, and equally fast on an idle one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def usable_device(device: str) -> str:
    """Return the name of a device that ONNX Runtime can use; ``"auto"`` is CUDA where it starts, else the CPU.

    Raises:
        MissingExtra: CUDA is requested, and this build of ONNX Runtime does not support it.
        DeepfakeError: The device is unknown, or ONNX Runtime cannot run there.
    """
    device = device_name(device)
    listed = _LISTED in ort.get_available_providers()
    if device == "auto":
        if listed and (reason := cuda_failure()):
            _note_cpu(reason)
        return "cuda" if listed and not reason else "cpu"
    if device.startswith("mps"):
        raise DeepfakeError(
            f"device {device!r}: ONNX Runtime does not run there; use backend='torch' (--backend torch), or "
            "device='cpu' (--device cpu)"
        )
    if device != "cpu" and not listed:
        raise MissingExtra(f"device {device!r}: ONNX Runtime on a GPU", "onnxruntime-gpu")
    if device != "cpu" and (reason := cuda_failure(device)):
        raise DeviceFailed(device, "ONNX Runtime", reason, _REMEDY)
    return device


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    index = device.partition(":")[2] or "0"
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]

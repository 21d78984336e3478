"""Which backend runs a model: ``auto`` by a fixed rule, ``fastest`` by measurement."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Literal, cast, get_args

from deepfake_core.contract.specs import DetectorSpec
from deepfake_core.discovery.artifacts import FORMATS, Artifact
from deepfake_core.discovery.plugins import detector_spec, import_object
from deepfake_core.errors import DeepfakeError, WeightsUnavailable
from deepfake_core.runtimes.base import Runtime, device_name
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.runtimes.torch_side import import_torch
from deepfake_core.timing import Stages

log = logging.getLogger("deepfake.backends")

Backend = Literal["auto", "fastest", "onnxruntime", "openvino", "torch"]
"""Values of the argument ``backend`` of :func:`deepfake_core.load`."""
BACKEND_VARIABLE = "DEEPFAKE_BACKEND"
TORCH_FORMAT = "safetensors"

_RUNS: Mapping[str, Sequence[str]] = {
    "onnxruntime": ("onnx",),
    "openvino": ("openvino", "onnx"),
    "torch": (TORCH_FORMAT,),
}
"""Backend → formats that it runs, the better one first. A new backend has a row here and one in the next table."""
_RUNTIMES: Mapping[str, str] = {
    "onnxruntime": "deepfake_core.runtimes.onnxruntime:OnnxRuntime",
    "openvino": "deepfake_core.runtimes.openvino:OpenVinoRuntime",
}
"""Backend → its runtime, constructed as ``runtime(artifact, device=…, threads=…)``; torch needs the network instead."""


def check_backend(backend: str) -> None:
    """Refuse a backend that does not exist.

    Raises:
        DeepfakeError: It does not.
    """
    known = get_args(Backend)
    if backend not in known:
        raise DeepfakeError(f"unknown backend {backend!r}; use {', '.join(known[:-1])} or {known[-1]}")


def check_device(device: str) -> None:
    """Refuse a device that no installed backend can use, before long work begins.

    Raises:
        MissingExtra: Only ONNX Runtime is installed, in a build without support of the device.
        DeepfakeError: The device does not exist, or cannot be used.
    """
    device = device_name(device)
    if device in ("auto", "cpu") or _runs_here("onnxruntime", device):
        return
    if find_spec("torch") is not None:
        import_torch("torch_device")(device)
    else:
        from deepfake_core.runtimes.onnxruntime import usable_device

        usable_device(device)


def candidates(backend: Backend, offered: Sequence[str], device: str, label: str) -> dict[str, str]:
    """Return the backends that come into question, each with the format that it would run.

    There is one, unless ``backend`` is ``fastest`` and several can be compared. ``auto`` takes the backend that the
    environment variable ``DEEPFAKE_BACKEND`` names, where it can run the model. Otherwise the order of the files in the
    package decides: it takes the first file that a backend which is installed here can run on the device, and the
    weights for torch last.

    Args:
        backend: Backend that the user asked for.
        offered: Formats of the model's files, in the order of its manifest.
        device: Device that the user asked for.
        label: Name of the model in messages.

    Raises:
        WeightsUnavailable: The model has no file that the backend can run.
        DeepfakeError: ``DEEPFAKE_BACKEND`` names no backend.
    """
    wanted = tuple(_RUNS) if backend in ("auto", "fastest") else (backend,)
    able: dict[str, str] = {}
    for name in wanted:
        if (format := next((format for format in _RUNS[name] if format in offered), None)) is not None:
            able[name] = format
    if not able:
        needs = " or ".join(dict.fromkeys(f".{suffix(format)}" for name in wanted for format in _RUNS[name]))
        has = ", ".join(f".{suffix(format)}" for format in offered if format in FORMATS.values()) or "no model file"
        raise WeightsUnavailable(f"{label}: backend {backend!r} needs a {needs} file, and there is {has}")
    if len(able) == 1:
        return able
    named = os.environ.get(BACKEND_VARIABLE, "").strip()
    if named and named not in _RUNS:
        raise DeepfakeError(f"{BACKEND_VARIABLE}={named!r}: no such backend; use {', '.join(_RUNS)}, or unset it")
    if named in able:
        return {named: able[named]}
    here = {name: format for name, format in able.items() if _runs_here(name, device)}
    if backend == "fastest" and on_cpu(device):
        compared = {name: format for name, format in here.items() if name != "torch"}
        if compared:
            return compared
    by_preference = sorted(here, key=lambda name: (here[name] == TORCH_FORMAT, offered.index(here[name])))
    chosen = by_preference[0] if by_preference else next(iter(able))  # whose error then says what is missing
    if chosen == "torch" and "onnxruntime" in able and device not in ("auto", "cpu"):
        log.info("%s: ONNX Runtime does not run on %s here; torch runs the model", label, device)
    return {chosen: able[chosen]}


def _runs_here(backend: str, device: str) -> bool:
    """Whether a backend is installed and can use the device."""
    if backend == "torch":
        return find_spec("torch") is not None
    if backend == "openvino":
        return find_spec("openvino") is not None and on_cpu(device)
    return device in ("auto", "cpu") or (device.startswith("cuda") and _has_cuda(device))


def on_cpu(device: str) -> bool:
    """Whether a device means the CPU to ONNX Runtime, which takes CUDA for ``auto`` where CUDA starts."""
    return device == "cpu" or (device == "auto" and not _has_cuda())


def _has_cuda(device: str = "cuda") -> bool:
    from deepfake_core.runtimes.onnxruntime import cuda_failure

    return not cuda_failure(device)


def suffix(format: str) -> str:
    """Return the suffix of a format's files, without the dot."""
    return next(end for end, name in FORMATS.items() if name == format)[1:]


def fastest(found: Mapping[str, Artifact], threads: int | None) -> str:
    """Return the backend that runs a model fastest on this CPU: measured once, then remembered.

    Args:
        found: Backend → the file that it runs, the preferred one first.
        threads: Number of threads of one inference; by default what the machine allows.
    """
    from deepfake_core.runtimes import autotune

    count = threads or allowed_threads()

    def opener(name: str) -> Callable[[], Runtime]:
        return lambda: open_runtime(name, None, found[name], "cpu", count, Stages())

    return autotune.fastest({name: opener(name) for name in found}, found, count)


def open_runtime(
    backend: str, spec: DetectorSpec | None, artifact: Artifact, device: str, threads: int | None, stages: Stages
) -> Runtime:
    """Open a model file in a backend.

    Args:
        backend: Name of the backend.
        spec: Record of the plugin, which torch needs; by default the one that the manifest names.
        artifact: Model file.
        device: Device to run on.
        threads: Number of threads of one inference; by default what the machine allows.
        stages: Takes the time of each stage.

    Raises:
        ArtifactCorrupt: The file cannot be run.
        MissingExtra: The backend, or its support of the device, is not installed.
    """
    if backend in _RUNTIMES:
        with stages.timed("import"):
            runtime = import_object(_RUNTIMES[backend])
        with stages.timed("load"):
            return cast("Runtime", runtime(artifact, device=device, threads=threads))
    spec = spec or detector_spec(artifact.manifest.architecture)
    with stages.timed("import"):
        import_torch("detector_class", spec.install)(spec)
    with stages.timed("load"):
        detector = import_torch("make_detector", spec.install)(spec, artifact.manifest.config)
        network = import_torch("load_network")(detector, artifact)
    return cast("Runtime", import_torch("open_network")(network, artifact.manifest, device, threads, stages))

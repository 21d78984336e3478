"""``load``: from a name or a file to a detector that is ready to judge."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepfake_core.discovery.artifacts import (
    ENSEMBLE_FILE,
    FORMATS,
    Artifact,
    Package,
    is_path,
    read_bare,
    read_package,
)
from deepfake_core.discovery.plugins import detector_spec, detectors
from deepfake_core.discovery.registry_source import find_registered, is_registered_name
from deepfake_core.errors import DeepfakeError, PluginLoadError, WeightsUnavailable
from deepfake_core.handle.loaded import LoadedDetector, import_torch
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.timing import Stages
from deepfake_registry.manifest import MANIFEST_FILE, DataSource

if TYPE_CHECKING:
    from torch import nn

    from deepfake_core.contract.specs import DetectorSpec
    from deepfake_core.runtimes.base import Runtime
    from deepfake_registry.manifest import ModelManifest

Backend = Literal["auto", "onnxruntime", "openvino", "torch"]

BACKEND_VARIABLE = "DEEPFAKE_BACKEND"
_NEEDS = {"onnxruntime": ("onnx",), "openvino": ("openvino", "onnx"), "torch": ("safetensors",)}
"""Backend → formats of the artefacts that it runs, the better first; in the order in which ``auto`` tries them."""


def load(
    name_or_path: str | os.PathLike[str],
    *,
    backend: Backend = "auto",
    device: str = "auto",
    threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    download: bool = False,
    untrained: bool = False,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
) -> LoadedDetector:
    """Load a detector.

    Args:
        name_or_path: The name of an installed detector; or ``"name@version"`` or ``"name@alias"`` in the registry
            that ``DEEPFAKE_REGISTRY`` names; or a path, which has a separator or a model file's suffix: an ``.onnx``,
            ``.safetensors`` or OpenVINO ``.xml`` file with its manifest inside, or the folder of a package or of an
            ensemble.
        backend: What runs it. ``auto`` takes the one that the environment variable ``DEEPFAKE_BACKEND`` names, if it
            can run this model. Otherwise, where both ONNX Runtime and OpenVINO can on the CPU, they are timed once
            for each model, machine and number of threads, and the faster one is remembered; else it is ONNX Runtime,
            OpenVINO or torch, in this order.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``.
        threads: Threads of one inference; by default what the machine allows.
        weights: For a detector's name: whose weights to load instead of its own. A repository of the Hugging Face
            Hub (``"owner/name"``, ``"owner/name@revision"``) or a folder with such a repository's files.
        download: Let the Hub be asked, and what is missing be downloaded to its cache. By default no network is
            used: a repository must be in the cache.
        untrained: Build the network with random weights instead, drawn from ``seed`` (needs torch). Its scores
            mean nothing and are stamped ``untrained``; use it to train, or to measure speed.
        seed: Of the random weights.
        config: Hyper-parameters of the untrained network; by default the documented ones.

    Raises:
        UnknownDetector: No installed plugin offers the name.
        WeightsUnavailable: The detector has no weights here, or none that the backend can run.
        ArtifactCorrupt: The model file is damaged, or carries no manifest.
        RegistryError: The registry has no such model, or cannot be reached.
        SignatureRefused: The model is not signed by the key that ``DEEPFAKE_REGISTRY_KEY`` names.
        MissingExtra: The backend or the device needs an optional dependency.
    """
    if backend not in ("auto", *_NEEDS):
        raise DeepfakeError(f"unknown backend {backend!r}; use auto, {' or '.join(_NEEDS)}")
    if weights is not None and (untrained or is_path(name_or_path) or is_registered_name(name_or_path)):
        raise DeepfakeError(
            f"weights go with the name of a detector that is to have them, not with "
            f"{'untrained=True' if untrained else f'the model {os.fspath(name_or_path)}'}"
        )
    if untrained:
        return _untrained(detector_spec(os.fspath(name_or_path)), backend, device, threads, seed, config)
    if config is not None:
        raise DeepfakeError("config is for untrained networks; a trained one brings its own")
    spec: DetectorSpec | None = None
    package: Package | None = None
    bare: Artifact | None = None
    origin = str(Path(name_or_path).resolve()) if is_path(name_or_path) else str(name_or_path)
    if is_registered_name(name_or_path):
        package = registered = find_registered(str(name_or_path))
        origin = registered.reference
    elif not is_path(name_or_path):
        spec = detector_spec(str(name_or_path))
        if (repository := weights or (None if spec.weights else spec.hub)) is not None:
            return _from_repository(spec, repository, download, backend, device, threads)
        package = read_package(_packaged_weights(spec))
    elif (path := Path(name_or_path)).is_dir():
        if (path / ENSEMBLE_FILE).is_file():
            from deepfake_core.ensemble.ensemble import load_ensemble

            return load_ensemble(path, backend=backend, device=device, threads=threads)
        package = read_package(path)
    else:
        bare = read_bare(path)
    offered = tuple(package.manifest.files) if package else (bare.format,) if bare else ()
    stages = Stages()
    with stages.timed("cache"):
        found = {
            name: bare or _artifact(package, format)
            for name, format in _choose(backend, offered, device, str(name_or_path)).items()
        }
    chosen, *_ = found
    if len(found) > 1:
        with stages.timed("choice"):
            chosen = _fastest(found, threads or allowed_threads())
    artifact = found[chosen]
    if spec is None and (installed := detectors().get(artifact.manifest.architecture)) is not None:
        spec = installed.spec
    runtime = _runtime(chosen, spec, artifact, device, threads, stages)
    return LoadedDetector(
        spec,
        runtime,
        package=package,
        artifacts=(artifact,),
        origin={"name_or_path": origin},
        load_ms=stages.spent_ms,
    )


def _choose(backend: Backend, offered: tuple[str, ...], device: str, label: str) -> dict[str, str]:
    """Backends that may run the model → the format that each would run: one, or those that are to be compared."""
    wanted = tuple(_NEEDS) if backend == "auto" else (backend,)
    able = {
        name: format for name in wanted if (format := next((f for f in _NEEDS[name] if f in offered), None)) is not None
    }
    if not able:
        needs = " or ".join(dict.fromkeys(f".{suffix(format)}" for name in wanted for format in _NEEDS[name]))
        has = ", ".join(f".{suffix(format)}" for format in offered if format in FORMATS.values()) or "no model file"
        raise WeightsUnavailable(f"{label}: backend {backend!r} needs a {needs} file, and there is {has}")
    if len(able) == 1:
        return able
    named = os.environ.get(BACKEND_VARIABLE, "").strip()
    if named and named not in _NEEDS:
        raise DeepfakeError(f"{BACKEND_VARIABLE}={named!r}: no such backend; use {', '.join(_NEEDS)}, or unset it")
    if named in able:
        return {named: able[named]}
    comparable = {name: format for name, format in able.items() if name != "torch"}
    if find_spec("openvino") is None or not _on_cpu(device):
        comparable.pop("openvino", None)
    return comparable or {"torch": able["torch"]}


def suffix(format: str) -> str:
    """What the files of a format end with, without the dot."""
    return next(end for end, name in FORMATS.items() if name == format)[1:]


def _on_cpu(device: str) -> bool:
    """Whether a device means the CPU to ONNX Runtime, which has CUDA in its GPU build alone."""
    if device == "auto":
        import onnxruntime

        return "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
    return device == "cpu"


def _artifact(package: Package | None, format: str) -> Artifact:
    artifact = package.artifact(format) if package else None
    assert artifact is not None, "only formats that the manifest lists are asked for"
    return artifact


def _fastest(found: Mapping[str, Artifact], threads: int) -> str:
    from deepfake_core.runtimes.autotune import fastest

    def opened(name: str) -> Callable[[], Runtime]:
        return lambda: _runtime(name, None, found[name], "cpu", threads, Stages())

    return fastest({name: opened(name) for name in found}, found, threads)


def _runtime(
    backend: str, spec: DetectorSpec | None, artifact: Artifact, device: str, threads: int | None, stages: Stages
) -> Runtime:
    if backend == "onnxruntime":
        with stages.timed("import"):
            from deepfake_core.runtimes.onnxruntime import OnnxRuntime

        with stages.timed("load"):
            return OnnxRuntime(artifact, device=device, threads=threads)
    if backend == "openvino":
        with stages.timed("import"):
            from deepfake_core.runtimes.openvino import OpenVinoRuntime

        with stages.timed("load"):
            return OpenVinoRuntime(artifact, device=device, threads=threads)
    spec = spec or detector_spec(artifact.manifest.architecture)
    with stages.timed("import"):
        import_torch("detector_class", spec.install)(spec)
    with stages.timed("load"):
        detector = import_torch("make_detector", spec.install)(spec, artifact.manifest.config)
        network = import_torch("load_network")(detector, artifact)
    return _torch_runtime(network, artifact.manifest, device, threads, stages)


def _torch_runtime(
    network: nn.Module, manifest: ModelManifest, device: str, threads: int | None, stages: Stages
) -> Runtime:
    with stages.timed("device"):
        chosen = import_torch("torch_device")(device)
    with stages.timed("transfer"):
        runtime: Runtime = import_torch("TorchRuntime")(
            network, manifest, device=chosen, threads=threads or allowed_threads()
        )
    return runtime


def _from_repository(
    spec: DetectorSpec,
    name: str | os.PathLike[str],
    download: bool,
    backend: Backend,
    device: str,
    threads: int | None,
) -> LoadedDetector:
    """The detector with the weights of a repository of the Hugging Face Hub, which torch runs."""
    stages = Stages()
    with stages.timed("cache"):
        from deepfake_core.discovery import hub

        try:
            repository = hub.find(os.fspath(name), download=download, install=spec.install)
            if (repository.folder / MANIFEST_FILE).is_file():
                raise DeepfakeError(f"{repository.name} is a packaged model: load it by its path, without weights")
            files = repository.references()
        except WeightsUnavailable as error:
            speed = f"to measure speed alone: load({spec.name!r}, untrained=True)"
            raise WeightsUnavailable(f"{spec.name}: {error.reason}", *error.others, speed) from error
    if backend not in ("auto", "torch"):
        raise WeightsUnavailable(
            f"{spec.name}: {repository.name} runs in torch; to run it elsewhere, export it: "
            f"dfbench export {spec.name} --weights {repository.name} --out {spec.name}.onnx"
        )
    with stages.timed("import"):
        kind = import_torch("detector_class", spec.install)(spec)
    with stages.timed("load"):
        detector, network = import_torch("repository_network")(kind, repository)
    manifest = detector.manifest(
        spec.name,
        "pretrained",
        version=repository.version(files),
        summary=spec.summary,
        license=repository.license(),
        provenance=(
            DataSource(
                name=repository.title, role="published weights", count=0, terms=repository.license() or "not stated"
            ),
        ),
        # Of several files none is the model: a manifest names one for each format.
        files={"safetensors": files[0]} if len(files) == 1 else {},
    )
    runtime = _torch_runtime(network, manifest, device, threads, stages)
    return LoadedDetector(
        spec,
        runtime,
        artifacts=[Artifact(repository.folder / file.path, "safetensors", file.sha256, manifest) for file in files],
        origin={"name_or_path": spec.name, "weights": repository.origin},
        repository=repository,
        load_ms=stages.spent_ms,
    )


def _untrained(
    spec: DetectorSpec,
    backend: Backend,
    device: str,
    threads: int | None,
    seed: int,
    config: Mapping[str, Any] | None,
) -> LoadedDetector:
    if backend not in ("auto", "torch"):
        raise WeightsUnavailable(
            f"{spec.name}: an untrained network runs in torch; to run it elsewhere, export it: "
            f"load({spec.name!r}, untrained=True).export(out='{spec.name}.onnx')"
        )
    detector = import_torch("make_detector", spec.install)(spec, config)
    network = import_torch("untrained_network")(detector, seed)
    manifest = detector.manifest(spec.name, "untrained", summary=spec.summary)
    stages = Stages()
    return LoadedDetector(spec, _torch_runtime(network, manifest, device, threads, stages), load_ms=stages.spent_ms)


def _packaged_weights(spec: DetectorSpec) -> Path:
    if spec.weights is not None:
        package, _, folder = spec.weights.partition(":")
        try:
            path = Path(str(files(package).joinpath(folder)))
        except ModuleNotFoundError as error:
            raise PluginLoadError(f"detector {spec.name!r}: its weights {spec.weights!r} name no package") from error
        if (path / MANIFEST_FILE).is_file():
            return path
    raise WeightsUnavailable(
        f"{spec.name!r} comes without weights here; train it: dfbench train {spec.name} --data FOLDER --run-dir RUN",
        "load a model file: load('path/to/model.onnx')",
        f"to measure speed alone: load({spec.name!r}, untrained=True)",
    )

"""``load``: from a name or a file to a detector that is ready to judge."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_core.discovery.artifacts import ENSEMBLE_FILE, Artifact, Package, is_path, read_bare, read_package
from deepfake_core.discovery.placed import VARIABLE, place_of
from deepfake_core.discovery.plugins import detector_spec, detectors, packaged_folder
from deepfake_core.discovery.registry_source import find_registered, is_registered_name
from deepfake_core.errors import DeepfakeError, WeightsUnavailable
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.loading.backends import Backend, candidates, check_backend, fastest, open_runtime
from deepfake_core.runtimes.base import device_name
from deepfake_core.timing import Stages
from deepfake_registry.manifest import MANIFEST_FILE

if TYPE_CHECKING:
    import torch

    from deepfake_core.contract.specs import DetectorSpec


def load(
    name_or_path: str | os.PathLike[str],
    *,
    backend: Backend = "auto",
    device: str | torch.device = "auto",
    threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    download: bool = False,
    untrained: bool = False,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
) -> LoadedDetector | Any:  # Any stands for Ensemble: it has the verbs for judging, but no network to train or export
    """Load a detector.

    Args:
        name_or_path: Name of an installed detector, whose weights are those in the folder that ``DEEPFAKE_WEIGHTS``
            names, if there are any, or else its own; ``"best"``, the ensemble that ships with the detectors; or
            ``"name@version"`` or ``"name@alias"`` in the registry that ``DEEPFAKE_REGISTRY`` names; or a path, which
            has a separator or a model file's suffix: an ``.onnx``, ``.safetensors`` or OpenVINO ``.xml`` file with its
            manifest inside, or the folder of a package, of a training run, whose best model is taken, or of an
            ensemble.
        backend: Runtime: ``onnxruntime``, ``openvino`` or ``torch``. ``auto`` follows a fixed rule: the environment
            variable ``DEEPFAKE_BACKEND``, where the backend that it names can run the model; otherwise the first file
            in the order of the package that an installed backend can run on the device, the weights for torch last.
            ``fastest`` times ONNX Runtime and OpenVINO on the CPU, once for each model, machine and number of threads,
            and remembers the faster one.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, ``"mps"``, a ``torch.device``, or ``"auto"``: a GPU where the
            backend has one. Where ONNX Runtime as installed has no support for the device, ``backend="auto"`` takes
            torch, if the model has weights for it.
        threads: Number of threads of one inference; by default what the machine allows.
        weights: Weights to load instead of the detector's own ones, with the name of a detector: a repository of the
            Hugging Face Hub (``"owner/name"``, ``"owner/name@revision"``) or a folder with such a repository's files.
        download: Whether to ask the Hub and download what is missing. By default no network is used: a repository must
            be in the cache.
        untrained: Whether to build the network with random weights (needs torch). Its scores mean nothing and are
            stamped ``untrained``; use it to train, or to measure speed.
        seed: Seed for the random weights.
        config: Hyper-parameters of the untrained network; by default the documented ones.

    Returns:
        The detector; for the folder of an ensemble an :class:`~deepfake_core.ensemble.ensemble.Ensemble`, which has the
        same verbs for judging.

    Raises:
        UnknownDetector: No installed plugin offers the name.
        WeightsUnavailable: The detector has no weights here, or none that the backend can run.
        ArtifactCorrupt: The model file is damaged, or carries no manifest.
        RegistryError: The registry has no such model, or cannot be reached.
        SignatureRefused: The model is not signed by the key that ``DEEPFAKE_REGISTRY_KEY`` names.
        MissingExtra: The backend or the device needs an optional dependency.
    """
    check_backend(backend)
    device = device_name(device)
    if weights is not None and (untrained or is_path(name_or_path) or is_registered_name(name_or_path)):
        raise DeepfakeError(
            f"weights go with the name of a detector that is to have them, not with "
            f"{'untrained=True' if untrained else f'the model {os.fspath(name_or_path)}'}"
        )
    if untrained:
        from deepfake_core.loading.networks import load_untrained

        return load_untrained(detector_spec(os.fspath(name_or_path)), backend, device, threads, seed, config)
    if config is not None:
        raise DeepfakeError("config is for untrained networks; a trained one brings its own")
    spec: DetectorSpec | None = None
    if weights is None and not is_path(name_or_path) and not is_registered_name(name_or_path):
        name = str(name_or_path)
        if (place := place_of(name)) is not None:
            return _load_placed(name, place, partial(load, backend=backend, device=device, threads=threads))
    origin = str(Path(name_or_path).resolve()) if is_path(name_or_path) else str(name_or_path)
    source: Package | Artifact
    if is_registered_name(name_or_path):
        source = registered = find_registered(str(name_or_path))
        origin = registered.reference
    elif not is_path(name_or_path):
        spec = detector_spec(str(name_or_path))
        if (repository := weights or (None if spec.weights else spec.hub)) is not None:
            from deepfake_core.loading.networks import load_repository

            return load_repository(spec, repository, download, backend, device, threads)
        source = read_package(_packaged_weights(spec))
    elif (path := Path(name_or_path)).is_dir():
        if (path / ENSEMBLE_FILE).is_file():
            from deepfake_core.ensemble.ensemble import Ensemble

            return Ensemble.read(path, partial(load, backend=backend, device=device, threads=threads))
        source = read_package(path)
    else:
        source = read_bare(path)
    return _load_files(source, spec, backend, device, threads, origin, str(name_or_path))


def _load_placed(name: str, place: Path, load_path: Callable[[Path], Any]) -> Any:
    """Load a model from its place, and refuse that of another detector than the one of the name."""
    loaded = load_path(place)
    if name in detectors() and loaded.manifest.architecture != name:
        raise DeepfakeError(
            f"{place}: is a model of {loaded.manifest.architecture}, not of {name}; give it another name, and load it "
            "by its path"
        )
    return loaded


def _load_files(
    source: Package | Artifact,
    spec: DetectorSpec | None,
    backend: Backend,
    device: str,
    threads: int | None,
    origin: str,
    label: str,
) -> LoadedDetector:
    """Choose one of the model's files and the backend that runs it, and open it."""
    package = source if isinstance(source, Package) else None
    offered = tuple(source.manifest.files) if isinstance(source, Package) else (source.format,)
    stages = Stages()
    with stages.timed("cache"):
        found = {
            name: _artifact(source, format) for name, format in candidates(backend, offered, device, label).items()
        }
    chosen, *_ = found
    if len(found) > 1:
        with stages.timed("choice"):
            chosen = fastest(found, threads)
    artifact = found[chosen]
    if spec is None and (installed := detectors().get(artifact.manifest.architecture)) is not None:
        spec = installed.spec
    runtime = open_runtime(chosen, spec, artifact, device, threads, stages)
    return LoadedDetector(
        spec,
        runtime,
        package=package,
        artifacts=(artifact,),
        origin={"name_or_path": origin},
        load_ms=stages.spent_ms,
    )


def _artifact(source: Package | Artifact, format: str) -> Artifact:
    artifact = source.artifact(format, verify=False) if isinstance(source, Package) else source
    assert artifact is not None, "only formats that the manifest lists are asked for"
    return artifact


def _packaged_weights(spec: DetectorSpec) -> Path:
    if spec.weights is not None and ((path := packaged_folder(spec.name, spec.weights)) / MANIFEST_FILE).is_file():
        return path
    raise WeightsUnavailable(
        f"{spec.name!r} comes without weights here; train it: dfbench train {spec.name} --data FOLDER --run-dir RUN",
        f"load a model file: load('path/to/model.onnx'), or place it as {spec.name}.onnx in the folder that {VARIABLE} "
        "names",
        f"to measure speed alone: load({spec.name!r}, untrained=True)",
    )

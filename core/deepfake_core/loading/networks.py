"""Detectors whose network is built in torch: weights from the Hugging Face Hub, and random ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deepfake_core.discovery.artifacts import Artifact
from deepfake_core.errors import DeepfakeError, WeightsUnavailable
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.runtimes.torch_side import import_torch
from deepfake_core.timing import Stages
from deepfake_registry.manifest import MANIFEST_FILE, DataSource

if TYPE_CHECKING:
    from deepfake_core.contract.specs import DetectorSpec

_ANY_OR_TORCH = ("auto", "fastest", "torch")


def load_repository(
    spec: DetectorSpec,
    name: str | os.PathLike[str],
    download: bool,
    backend: str,
    device: str,
    threads: int | None,
) -> LoadedDetector:
    """Load a detector with the weights of a repository of the Hugging Face Hub, which torch runs.

    Args:
        spec: Record of the detector.
        name: Repository (``"owner/name"``, ``"owner/name@revision"``) or a folder with its files.
        download: Whether to ask the Hub and download what is missing.
        backend: Backend that the user asked for.
        device: Device to run on.
        threads: Number of threads of torch; by default what the machine allows.

    Raises:
        WeightsUnavailable: The repository is not on this machine, or another backend than torch was asked for.
        ArtifactCorrupt: A file is damaged, or it is a model of another kind.
        MissingExtra: torch, or a module that the detector needs, is not installed.
    """
    stages = Stages()
    with stages.timed("cache"):
        from deepfake_core.discovery import hub

        try:
            repository = hub.find_repository(os.fspath(name), download=download, install=spec.install)
            if (repository.folder / MANIFEST_FILE).is_file():
                raise DeepfakeError(f"{repository.name} is a packaged model: load it by its path, without weights")
            files = repository.references()
        except WeightsUnavailable as error:
            speed = f"to measure speed alone: load({spec.name!r}, untrained=True)"
            raise WeightsUnavailable(f"{spec.name}: {error.reason}", *error.others, speed) from error
    if backend not in _ANY_OR_TORCH:
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
        # A manifest names one file for each format; none of several files is the model.
        files={"safetensors": files[0]} if len(files) == 1 else {},
    )
    runtime = import_torch("open_network")(network, manifest, device, threads, stages)
    return LoadedDetector(
        spec,
        runtime,
        artifacts=[Artifact(repository.folder / file.path, "safetensors", file.sha256, manifest) for file in files],
        origin={"name_or_path": spec.name, "weights": repository.origin},
        repository=repository,
        load_ms=stages.spent_ms,
    )


def load_untrained(
    spec: DetectorSpec,
    backend: str,
    device: str,
    threads: int | None,
    seed: int,
    config: Mapping[str, Any] | None,
) -> LoadedDetector:
    """Build a detector with random weights in torch.

    Args:
        spec: Record of the detector.
        backend: Backend that the user asked for.
        device: Device to run on.
        threads: Number of threads of torch; by default what the machine allows.
        seed: Seed for the random weights.
        config: Hyper-parameters; by default the documented ones.

    Raises:
        WeightsUnavailable: Another backend than torch was asked for.
        MissingExtra: torch, or a module that the detector needs, is not installed.
    """
    if backend not in _ANY_OR_TORCH:
        raise WeightsUnavailable(
            f"{spec.name}: an untrained network runs in torch; to run it elsewhere, export it: "
            f"load({spec.name!r}, untrained=True).export(out='{spec.name}.onnx')"
        )
    detector = import_torch("make_detector", spec.install)(spec, config)
    network = import_torch("untrained_network")(detector, seed)
    manifest = detector.manifest(spec.name, "untrained", summary=spec.summary)
    stages = Stages()
    runtime = import_torch("open_network")(network, manifest, device, threads, stages)
    return LoadedDetector(spec, runtime, load_ms=stages.spent_ms)

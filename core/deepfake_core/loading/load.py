"""``load``: from a name or a file to a detector that is ready to judge."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from deepfake_core.discovery.artifacts import ENSEMBLE_FILE, Artifact, Package, is_path, read_bare, read_package
from deepfake_core.discovery.plugins import detector_spec, detectors
from deepfake_core.discovery.registry_source import find_registered, is_registered_name
from deepfake_core.errors import DeepfakeError, PluginLoadError, WeightsUnavailable
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.loading.backends import Backend, candidates, check_backend, fastest, open_runtime
from deepfake_core.loading.networks import load_repository, load_untrained
from deepfake_core.runtimes.base import device_name
from deepfake_core.timing import Stages
from deepfake_registry.manifest import MANIFEST_FILE

if TYPE_CHECKING:
    import torch

    from deepfake_core.contract.specs import DetectorSpec
    from deepfake_core.handle.predictor import Predictor


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
) -> LoadedDetector:
    """Load a detector.

    Args:
        name_or_path: Name of an installed detector; or ``"name@version"`` or ``"name@alias"`` in the registry that
            ``DEEPFAKE_REGISTRY`` names; or a path, which has a separator or a model file's suffix: an ``.onnx``,
            ``.safetensors`` or OpenVINO ``.xml`` file with its manifest inside, or the folder of a package, of a
            training run's model, or of an ensemble.
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

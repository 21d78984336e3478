"""Runtime for networks in torch, with the weights of a ``.safetensors`` file or with random weights."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.specs import DetectorSpec
from deepfake_core.discovery.artifacts import Artifact
from deepfake_core.discovery.plugins import import_object
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, PluginLoadError
from deepfake_core.runtimes.base import Outputs, Runtime, device_name
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.runtimes.torchvision_ops import ensure_torchvision
from deepfake_core.timing import Stages
from deepfake_registry.manifest import ModelManifest

if TYPE_CHECKING:
    from deepfake_core.contract.repository import Repository

_LONGEST_REASON = 400  # characters; torch names every tensor that does not fit


class TorchRuntime(Runtime):
    """Runtime of a network in torch.

    Args:
        network: Network from normalised images ``float32 [N, 3, H, W]`` to logits ``[N]`` (and evidence logits
            ``[N, h, w]``). It is moved to the device and put into evaluation mode.
        manifest: Description of the model; the graph half of its preprocessing is put in front of the network.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, ``"mps"``, or ``"auto"``: CUDA if there is a GPU, else the CPU.
        threads: Number of threads of torch, which is set for the whole process; by default it is left as it is.

    Raises:
        DeepfakeError: The device is not available.
    """

    name: ClassVar[str] = "torch"

    def __init__(
        self, network: nn.Module, manifest: ModelManifest, *, device: str = "auto", threads: int | None = None
    ) -> None:
        self.manifest = manifest
        self.device = torch_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        self.network = network
        self._module = WithPreprocess(network, manifest.preprocess).eval().to(self.device)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            # torch warns about arrays that are read-only, as crops can be, though nothing is written to them here.
            pixels = torch.from_numpy(images if images.flags.writeable else images.copy()).to(self.device)
            output = self._module(pixels)
        return as_outputs(output, self.manifest)


def as_outputs(output: Tensor | tuple[Tensor, ...], manifest: ModelManifest) -> Outputs:
    """Convert the outputs of a network to float32 arrays, with the names of its manifest.

    Raises:
        DeepfakeError: The network returned more or fewer outputs than the manifest names.
    """
    tensors = output if isinstance(output, tuple) else (output,)
    names = [spec.name for spec in manifest.outputs]
    if len(tensors) != len(names):
        raise DeepfakeError(
            f"the network of {manifest.name!r} returns {len(tensors)} outputs, its manifest names {', '.join(names)}"
        )
    return Outputs.named({name: _array(tensor) for name, tensor in zip(names, tensors, strict=True)})


def detector_class(spec: DetectorSpec) -> type[Detector]:
    """Import the class that the record of a plugin names.

    Raises:
        MissingExtra: A module that the detector needs is not installed.
        PluginLoadError: The record does not name a subclass of :class:`Detector`.
    """
    ensure_torchvision()
    kind = import_object(spec.detector, install=spec.install)
    if not (isinstance(kind, type) and issubclass(kind, Detector)):
        raise PluginLoadError(f"{spec.detector!r} of detector {spec.name!r} is no subclass of deepfake_core.Detector")
    return kind


def make_detector(spec: DetectorSpec, config: Mapping[str, object] | None = None) -> Detector:
    """Construct the detector of a plugin, without weights.

    Args:
        spec: Record of the plugin.
        config: Hyper-parameters as in the JSON of a manifest; by default the defaults of the detector.

    Raises:
        MissingExtra: A module that the detector needs is not installed.
        PluginLoadError: The record does not name a subclass of :class:`Detector`, or the configuration is invalid.
    """
    kind = detector_class(spec)
    try:
        return kind(kind.Config.model_validate(config or {}))
    except ValidationError as error:
        raise PluginLoadError(f"detector {spec.name!r}: its configuration does not fit: {error.errors()[0]}") from error


def load_network(detector: Detector, artifact: Artifact) -> nn.Module:
    """Build the network with the weights of a ``.safetensors`` file, as float32 on the CPU.

    Raises:
        ArtifactCorrupt: The file cannot be read, or its tensors do not fit the network.
    """
    try:
        stored = load_file(artifact.path)
    except (SafetensorError, OSError) as error:
        raise ArtifactCorrupt(f"{artifact.path}: its weights cannot be read: {error}") from error
    state = {name: value.float() if value.is_floating_point() else value for name, value in stored.items()}
    return _filled(detector, state, str(artifact.path))


def repository_network(kind: type[Detector], repository: Repository) -> tuple[Detector, nn.Module]:
    """Read a detector from a repository of the Hugging Face Hub, and return it with its network on the CPU.

    Raises:
        WeightsUnavailable: A file is missing.
        ArtifactCorrupt: A file is damaged, or the model is of another kind.
    """
    config, state = kind.from_repository(repository)
    detector = kind(config)
    return detector, _filled(detector, state, repository.name)


def _filled(detector: Detector, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """Build the network with the given weights.

    Raises:
        ArtifactCorrupt: The weights do not fit the network; the message names their ``source``.
    """
    network = skeleton(detector)
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = textwrap.shorten(" ".join(str(error).split()), _LONGEST_REASON, placeholder=" …")
        raise ArtifactCorrupt(f"{source}: its weights do not fit {type(detector).__name__}: {reason}") from error
    return network


def untrained_network(detector: Detector, seed: int = 0) -> nn.Module:
    """Build the network on the CPU, with random weights that depend on ``seed`` only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return detector.build()


def skeleton(detector: Detector) -> nn.Module:
    """Build the network without values for its weights.

    On the meta device of torch no random numbers are drawn, which makes loading many times faster. A network that
    computes with tensors while it is built, or has constants that are not saved with its weights, is built as usual.
    """
    try:
        with torch.device("meta"):
            network = detector.build()
    except (NotImplementedError, RuntimeError):
        return detector.build()
    saved = network.state_dict()
    if any(name not in saved for name, _ in network.named_buffers()):
        return detector.build()
    return network


def torch_device(device: str | torch.device) -> str:
    """Return the name of an available device; ``"auto"`` is CUDA if there is a GPU, else the CPU.

    Raises:
        DeepfakeError: The device is unknown or not available.
    """
    name = device_name(device)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeepfakeError("device 'mps': torch finds no Apple GPU here; use device='cpu'")
    index = name.partition(":")[2]
    if name.startswith("cuda") and int(index or 0) >= torch.cuda.device_count():
        raise DeepfakeError(f"device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices; use device='cpu'")
    return name


def open_network(
    network: nn.Module, manifest: ModelManifest, device: str, threads: int | None, stages: Stages
) -> TorchRuntime:
    """Move a network to a device and wrap it in a runtime.

    Args:
        network: Network of a detector, on the CPU.
        manifest: Description of the model.
        device: Device to run on.
        threads: Number of threads of torch; by default the number that the machine allows.
        stages: Stopwatch that records the time of each stage.

    Raises:
        DeepfakeError: The device is not available.
    """
    with stages.timed("device"):
        chosen = torch_device(device)
    with stages.timed("transfer"):
        return TorchRuntime(network, manifest, device=chosen, threads=threads or allowed_threads())


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array

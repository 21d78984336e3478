"""Runtime for networks in torch, with the weights of a ``.safetensors`` file or with random weights."""

from __future__ import annotations

import contextlib
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.specs import DetectorSpec
from deepfake_core.discovery.artifacts import Artifact
from deepfake_core.discovery.plugins import detectors, import_object
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, MissingExtra, PluginLoadError
from deepfake_core.runtimes.base import DeviceFailed, Outputs, Runtime, device_name, note_once
from deepfake_core.runtimes.forks import FORKED_GPU, call_after_fork
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.runtimes.torchvision_ops import ensure_torchvision
from deepfake_core.timing import Stages
from deepfake_registry.manifest import ModelManifest

if TYPE_CHECKING:
    from deepfake_core.contract.repository import Repository

_GPU_ERROR = re.compile("CUDA|cuDNN|CUDNN|cuBLAS|CUBLAS|MPS|HIP")
_LONGEST_REASON = 400  # characters; torch names every tensor that does not fit


class TorchRuntime(Runtime):
    """Runtime of a network in torch.

    Args:
        network: Network from normalised images ``float32 [N, 3, H, W]`` to logits ``[N]`` (and evidence logits
            ``[N, h, w]``). It is moved to the device and put into evaluation mode.
        manifest: Description of the model; the graph half of its preprocessing is put in front of the network.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, ``"mps"``, or ``"auto"``: CUDA if there is a GPU that runs the
            model, else the CPU; one line is logged where a GPU cannot be used.
        threads: Number of threads of torch, which is set for the whole process; by default it is left as it is. In a
            process that was forked after this module was imported, torch keeps one thread.

    Raises:
        DeepfakeError: The device is not available, or cannot run the model.
    """

    name: ClassVar[str] = "torch"

    def __init__(
        self, network: nn.Module, manifest: ModelManifest, *, device: str = "auto", threads: int | None = None
    ) -> None:
        self.manifest = manifest
        self.network = network
        self._module = WithPreprocess(network, manifest.preprocess).eval()
        if threads is not None:
            torch.set_num_threads(1 if _threads_before_fork else threads)
        chosen = torch_device(device)
        try:
            self._start(chosen)
        except DeviceFailed as error:
            if device_name(device) != "auto":
                raise
            _note_cpu(error.reason)
            self._start("cpu")

    def _start(self, device: str) -> None:
        """Move the network to a device, and run it once on a GPU, whose memory may be too small."""
        self.device = device
        with _device_errors(device):
            self._module.to(device)
        if device != "cpu":
            self.run(np.zeros((1, *self.manifest.preprocess.input_shape), np.uint8))

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        if _threads_before_fork > 1:
            note_once(
                "torch runs on one thread, because this process was forked from one that had loaded torch; for more "
                "threads, load the detector only in the processes that judge"
            )
        with _device_errors(self.device), torch.inference_mode():
            # torch warns about arrays that are read-only, as crops can be, though nothing is written to them here.
            pixels = torch.from_numpy(images if images.flags.writeable else images.copy()).to(self.device)
            output = self._module(pixels)
            return as_outputs(output, self.manifest)


_threads_before_fork = 0  # number of threads of torch in the process that this one was forked from; 0 without a fork


def _after_fork() -> None:
    """Leave torch one thread in a process that was forked, where OpenMP would wait forever for threads that it had."""
    global _threads_before_fork
    _threads_before_fork = max(_threads_before_fork, torch.get_num_threads())
    torch.set_num_threads(1)


call_after_fork(_after_fork)


@contextlib.contextmanager
def _device_errors(device: str) -> Iterator[None]:
    """Within the block, replace torch's errors of a GPU by one that names a remedy.

    Raises:
        DeviceFailed: The memory of the GPU is exhausted, or the GPU cannot be used.
    """
    try:
        yield
    except RuntimeError as error:
        if device == "cpu" or not (isinstance(error, torch.OutOfMemoryError) or _GPU_ERROR.search(str(error))):
            raise
        if "forked" in str(error):
            raise DeviceFailed(device, "torch", *FORKED_GPU) from error
        remedy = "take smaller batches, free memory of the GPU"
        raise DeviceFailed(device, "torch", _first_line(error), remedy) from error


def _note_cpu(reason: str) -> None:
    note_once(f"torch cannot use the GPU ({reason}); it runs on the CPU")


def _first_line(error: BaseException | Warning) -> str:
    return str(error).strip().partition("\n")[0]


def as_outputs(output: Tensor | tuple[Tensor, ...], manifest: ModelManifest) -> Outputs:
    """Convert the outputs of a network to float32 arrays, with the names of its manifest.

    Raises:
        PluginLoadError: The network returned other outputs than the manifest names, or outputs of other shapes.
    """
    tensors = output if isinstance(output, tuple) else (output,)
    what = f"detector {manifest.name!r}: its network, which build() makes,"
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        kinds = ", ".join(type(tensor).__name__ for tensor in tensors)
        raise PluginLoadError(f"{what} returns {kinds}; return the logits as a tensor [N], or a tuple of tensors")
    names = [spec.name for spec in manifest.outputs]
    if len(tensors) != len(names):
        raise PluginLoadError(
            f"{what} returns {len(tensors)} outputs, and the detector names {len(names)}: {', '.join(names)}; return "
            "these, or set evidence_size or extra_outputs of the detector"
        )
    for spec, tensor in zip(manifest.outputs, tensors, strict=True):
        sizes = zip(tensor.shape[1:], spec.shape[1:], strict=False)
        if tensor.ndim != len(spec.shape) or any(isinstance(want, int) and got != want for got, want in sizes):
            remedy = "change the network, or the shape that the detector states"
            if spec.name == "logit":
                one = tensor.shape[1:].numel() == 1
                remedy = "return logit.flatten()" if one else "return one value for each input, positive for fake"
            raise PluginLoadError(
                f"{what} gives {spec.name} {_shape(tensor.shape)} instead of {_shape(spec.shape)}; {remedy}"
            )
    return Outputs.named({name: _array(tensor) for name, tensor in zip(names, tensors, strict=True)})


def _shape(sizes: Sequence[int | str | None]) -> str:
    """Return a shape for a message, ``[N, 7, 7]``."""
    return f"[{', '.join(['N', *map(str, sizes[1:])] if sizes else [])}]"


def check_outputs(network: nn.Module, manifest: ModelManifest) -> None:
    """Run a network on one black input, so that outputs of a wrong shape are found before any other work.

    Args:
        network: Network that a detector built; it is neither moved nor changed.
        manifest: Description of the model.

    Raises:
        PluginLoadError: It returned other outputs than the manifest names, or outputs of other shapes.
    """
    modes = [(module, module.training) for module in network.modules()]
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    module = WithPreprocess(network, manifest.preprocess).to(device).eval()
    black = torch.zeros(1, *manifest.preprocess.input_shape, dtype=torch.uint8, device=device)
    try:
        with torch.inference_mode():
            as_outputs(module(black), manifest)
    finally:
        for part, training in modes:
            part.training = training


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
        stored = load_tensors(artifact.content())
    except SafetensorError as error:
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
        return _built(detector)


def skeleton(detector: Detector) -> nn.Module:
    """Build the network without values for its weights.

    On the meta device of torch no random numbers are drawn, which makes loading many times faster. A network that
    computes with tensors while it is built, or has constants that are not saved with its weights, is built as usual.
    """
    try:
        with torch.device("meta"):
            network = _built(detector)
    except (NotImplementedError, RuntimeError):
        return _built(detector)
    saved = network.state_dict()
    if any(name not in saved for name, _ in network.named_buffers()):
        return detector.build()
    return network


def _built(detector: Detector) -> nn.Module:
    """Build the network of a detector.

    Raises:
        MissingExtra: A package that it imports on first use is not installed.
    """
    try:
        return detector.build()
    except ModuleNotFoundError as error:
        kind = f"{type(detector).__module__}:{type(detector).__qualname__}"
        for known in detectors().values():
            if known.spec.detector == kind:
                raise MissingExtra(f"{known.spec.name} (module {error.name!r})", known.spec.install) from error
        raise


def torch_device(device: str | torch.device) -> str:
    """Return the name of an available device; ``"auto"`` is CUDA if there is a GPU that starts, else the CPU.

    Raises:
        DeepfakeError: The device is unknown or not available.
    """
    name = device_name(device)
    if name == "cpu":
        return name
    if name.startswith("mps"):
        if not torch.backends.mps.is_available():
            raise DeepfakeError(f"device {name!r}: torch finds no Apple GPU here; use device='cpu' (--device cpu)")
        return name
    with warnings.catch_warnings(record=True) as said:  # that the driver is too old, for example
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    reason = _first_line(said[0].message) if said and not count else ""  # type: ignore[arg-type]
    if name != "auto":
        if int(name.partition(":")[2] or 0) >= count:
            told = f" ({reason})" if reason else ""
            raise DeepfakeError(
                f"device {name!r}: torch sees {count} CUDA devices{told}; use device='cpu' (--device cpu)"
            )
        return name
    if reason := reason or (_cuda_failure() if count else ""):
        _note_cpu(reason)
    return "cuda" if count and not reason else "cpu"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return a context in which networks compute in ``"fp32"``, ``"bf16"`` or ``"fp16"``."""
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, kind, enabled=precision != "fp32")


def has_bf16(device: torch.device) -> bool:
    """Return whether a device is a GPU that computes in bfloat16, and does not imitate it slowly."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device; a GPU copies it while the host goes on, from pinned memory."""
    if device.type != "cuda":
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)
    pinned = torch.from_numpy(np.empty(0, array.dtype)).new_empty(array.shape, pin_memory=True)
    np.copyto(pinned.numpy(), array)
    return pinned.to(device, non_blocking=True)


def _cuda_failure() -> str:
    """Return why torch cannot compute on the GPU that it sees, in one line; ``""`` where it can."""
    try:
        torch.ones(1, device="cuda").add_(1).item()
    except (RuntimeError, AssertionError) as error:
        return _first_line(error)
    return ""


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
        torch_device(device)
    with stages.timed("transfer"):
        return TorchRuntime(network, manifest, device=device, threads=threads or allowed_threads())


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array

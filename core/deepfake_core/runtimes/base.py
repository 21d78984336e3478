"""The interface of all runtimes: they take uint8 images and return logits."""

from __future__ import annotations

import logging
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import ArtifactCorrupt, DeepfakeError

if TYPE_CHECKING:
    import torch

    from deepfake_core.discovery.artifacts import Artifact
    from deepfake_registry.manifest import ModelManifest

log = logging.getLogger("deepfake.backends")

_LONGEST_REASON = 400  # characters; libraries write paragraphs


@dataclass(frozen=True, slots=True)
class Outputs:
    """Raw outputs of a network.

    Attributes:
        logit: Logits ``float32 [N]``; positive means fake.
        evidence: Logits ``float32 [N, h, w]`` of the evidence map, positive where a cell was manipulated; ``None``
            if the network has no such output.
        extra: Further outputs by name, each ``float32 [N, …]``.
    """

    logit: NDArray[np.float32]
    evidence: NDArray[np.float32] | None = None
    extra: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def named(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Outputs:
        """Create outputs from arrays ``float32 [N, …]`` by name; ``logit`` must be among them."""
        extra = {name: array for name, array in arrays.items() if name not in ("logit", "evidence")}
        return cls(arrays["logit"], arrays.get("evidence"), extra)

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """Concatenate the outputs of one network for several batches, along the first dimension."""
        if len(parts) == 1:
            return parts[0]
        tables = [part.by_name() for part in parts]
        return cls.named({name: np.concatenate([table[name] for table in tables]) for name in tables[0]})

    def by_name(self) -> dict[str, NDArray[np.float32]]:
        """Return all outputs by name: ``float32 [N, …]``."""
        evidence = {} if self.evidence is None else {"evidence": self.evidence}
        return {"logit": self.logit, **evidence, **self.extra}

    def __getitem__(self, rows: slice) -> Outputs:
        return Outputs.named({name: array[rows] for name, array in self.by_name().items()})


class Runtime(ABC):
    """Loaded network that is ready to run; it can be called from several threads.

    Attributes:
        name: Name of the backend.
        device: Device that it runs on.
        manifest: Description of the model.
    """

    name: ClassVar[str]
    device: str
    manifest: ModelManifest

    @abstractmethod
    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Normalise images, run the network on them, and return its outputs for the N images.

        Args:
            images: Crops ``uint8 [N, H, W, 3]`` RGB, or clips ``uint8 [N, T, H, W, 3]`` RGB, with N ≥ 1.
        """


class DeviceFailed(DeepfakeError):
    """A device that exists cannot run the model.

    Args:
        device: Name of the device.
        library: Library that was to run the model there.
        reason: What went wrong.
        remedy: What to do, besides the use of the CPU.
    """

    def __init__(self, device: str, library: str, reason: object, remedy: str = "") -> None:
        self.reason = textwrap.shorten(str(reason), _LONGEST_REASON, placeholder=" …")
        other = f"{remedy}, or use" if remedy else "use"
        super().__init__(
            f"device {device!r}: {library} cannot run the model there ({self.reason}); {other} device='cpu' "
            "(--device cpu)"
        )


@lru_cache
def note_once(message: str) -> None:
    """Log a warning of one line, once in each process."""
    log.warning("%s", message)


def device_name(device: str | torch.device) -> str:
    """Return the name of a device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        DeepfakeError: The device has another name.
    """
    name = str(device)
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps(:0)?", name) is None:
        raise DeepfakeError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:N or mps")
    return name.removesuffix(":0") if name.startswith("mps") else name


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map logits to probabilities in [0, 1], float32 of any shape, without overflow."""
    result: NDArray[np.float32] = (0.5 * (1.0 + np.tanh(0.5 * logits))).astype(np.float32)
    return result


def worst_difference(want: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    """Return the largest difference of two arrays ``float32`` of the same shape, relative to wanted values above 1.

    The difference of two elements is ``|want − got| / max(1, |want|)``.
    """
    return float(np.max(np.abs(want - got) / np.maximum(1.0, np.abs(want))))


def other_tensors(artifact: Artifact, inputs: Collection[str], outputs: Collection[str]) -> ArtifactCorrupt:
    """Create the error for a file whose tensors have other names than its manifest states.

    Args:
        artifact: File and its manifest.
        inputs: Names of the inputs in the file.
        outputs: Names of the outputs in the file.
    """
    manifest = artifact.manifest
    return ArtifactCorrupt(
        f"{artifact.path}: has the tensors {sorted(inputs)} → {sorted(outputs)}, but its manifest says "
        f"{manifest.inputs[0].name!r} → {[spec.name for spec in manifest.outputs]}; export it again"
    )

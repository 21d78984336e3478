"""What every runtime offers: uint8 pictures in, logits out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import ArtifactCorrupt, DeepfakeError

if TYPE_CHECKING:
    from deepfake_core.discovery.artifacts import Artifact
    from deepfake_registry.manifest import ModelManifest


@dataclass(frozen=True, slots=True)
class Outputs:
    """Raw outputs of a network.

    Attributes:
        logit: ``float32 [N]``, positive = fake.
        evidence: ``float32 [N, h, w]``, logits of "this cell was manipulated"; ``None`` where the network has
            no such output.
        extra: What else it returns, by name, each ``float32 [N, …]``.
    """

    logit: NDArray[np.float32]
    evidence: NDArray[np.float32] | None = None
    extra: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def named(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Outputs:
        """From all outputs by their names; ``logit`` must be among them."""
        extra = {name: array for name, array in arrays.items() if name not in ("logit", "evidence")}
        return cls(arrays["logit"], arrays.get("evidence"), extra)

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """Outputs of one network for several batches, one after the other."""
        if len(parts) == 1:
            return parts[0]
        tables = [part.by_name() for part in parts]
        return cls.named({name: np.concatenate([table[name] for table in tables]) for name in tables[0]})

    def by_name(self) -> dict[str, NDArray[np.float32]]:
        """All outputs by their names."""
        evidence = {} if self.evidence is None else {"evidence": self.evidence}
        return {"logit": self.logit, **evidence, **self.extra}

    def __getitem__(self, rows: slice) -> Outputs:
        return Outputs.named({name: array[rows] for name, array in self.by_name().items()})


class Runtime(ABC):
    """A loaded network, ready to run; safe to call from several threads."""

    name: ClassVar[str]
    device: str
    manifest: ModelManifest

    @abstractmethod
    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Run the graph half and the network on ``uint8 [N, H, W, 3]`` RGB (clips ``[N, T, H, W, 3]``), N ≥ 1."""


def check_device(device: str) -> None:
    """Refuse a device that no runtime knows.

    Raises:
        DeepfakeError: It is none of ``auto``, ``cpu``, ``cuda`` and ``cuda:N``.
    """
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", device) is None:
        raise DeepfakeError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")


def worst_difference(want: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    """Largest difference between two arrays of one shape, relative where a wanted value exceeds 1; NaN where one is."""
    return float(np.max(np.abs(want - got) / np.maximum(1.0, np.abs(want))))


def other_tensors(artifact: Artifact, inputs: Collection[str], outputs: Collection[str]) -> ArtifactCorrupt:
    """The error for a file whose tensors, by name, are not those of its manifest."""
    manifest = artifact.manifest
    return ArtifactCorrupt(
        f"{artifact.path}: has the tensors {sorted(inputs)} → {sorted(outputs)}, but its manifest says "
        f"{manifest.inputs[0].name!r} → {[spec.name for spec in manifest.outputs]}; export it again"
    )

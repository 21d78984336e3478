"""What every runtime offers: uint8 pictures in, logits out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deepfake_core.errors import DeepfakeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepfake_registry.manifest import ModelManifest


@dataclass(frozen=True, slots=True)
class Outputs:
    """Raw outputs of a network.

    Attributes:
        logit: ``float32 [N]``, positive = fake.
        evidence: ``float32 [N, h, w]``, logits of "this cell was manipulated"; ``None`` where the network has
            no such output.
    """

    logit: NDArray[np.float32]
    evidence: NDArray[np.float32] | None = None


class Runtime(ABC):
    """A loaded network, ready to run; safe to call from several threads."""

    name: ClassVar[str]
    device: str
    manifest: ModelManifest

    @abstractmethod
    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Run the graph half and the network on ``uint8 [N, H, W, 3]`` RGB, N ≥ 1."""


def check_device(device: str) -> None:
    """Refuse a device that no runtime knows.

    Raises:
        DeepfakeError: It is none of ``auto``, ``cpu``, ``cuda`` and ``cuda:N``.
    """
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", device) is None:
        raise DeepfakeError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")

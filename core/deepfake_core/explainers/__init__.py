"""Explainers: where a detector looked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepfake_core.loaded import LoadedDetector


class Explainer(ABC):
    """Turns one judged crop into a heat map. It is constructed without arguments.

    Attributes:
        targets: The classes that its map can argue for.
        target: The one that it argues for now.
    """

    targets: ClassVar[tuple[str, ...]] = ("fake",)
    target: Literal["fake", "real"] = "fake"

    @abstractmethod
    def explain(self, detector: LoadedDetector, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``uint8 [H, W, 3]`` RGB, as the network saw it → ``float32 [H, W]`` in [0, 1].

        1 is where it speaks most for :attr:`target`: for ``fake``, where it is most suspicious.

        Raises:
            DeepfakeError: The detector does not have what this explainer needs.
        """

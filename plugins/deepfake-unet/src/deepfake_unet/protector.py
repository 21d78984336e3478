"""The protector: the network's own second output, through any runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfake_core import DeepfakeError, Protector

if TYPE_CHECKING:
    from deepfake_core import LoadedDetector

PERTURBATION = "perturbation"
_BATCH = 4


class UnetProtector(Protector):
    """Runs on ONNX Runtime without torch, as judging does."""

    def perturbation(self, detector: LoadedDetector, crops: NDArray[np.uint8], epsilon: float) -> NDArray[np.float32]:
        found = detector.score(crops, batch_size=_BATCH).extra.get(PERTURBATION)
        if found is None:
            raise DeepfakeError(f"{detector.manifest.name!r} returns no perturbation; export it again from its weights")
        # Trained at one bound: another one scales what the network learned.
        scaled: NDArray[np.float32] = found * np.float32(epsilon / detector.manifest.config["epsilon"])
        return scaled

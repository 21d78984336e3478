"""The protector: the perturbation that the network returns, computed by any runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfake_core import DeepfakeError, Protector

if TYPE_CHECKING:
    from deepfake_core import LoadedDetector

PERTURBATION = "perturbation"
"""Name of the output that holds the perturbation."""
_BATCH = 4


class UnetProtector(Protector):
    """Protects images by the output of ``unet``; it needs a runtime, but not torch."""

    def perturbation(self, detector: LoadedDetector, crops: NDArray[np.uint8], epsilon: float) -> NDArray[np.float32]:
        if not detector.manifest.config.get("protect_weight", 1):
            raise DeepfakeError(
                f"{detector.manifest.name} {detector.manifest.version} was trained to find blended regions only, and "
                "its perturbation is random; protect with the shipped weights: load('unet')"
            )
        found = detector.score(crops, batch_size=_BATCH).extra.get(PERTURBATION)
        if found is None:
            raise DeepfakeError(f"{detector.manifest.name!r} returns no perturbation; export it again from its weights")
        # The network was trained at one bound, so that another bound scales its perturbation.
        scaled: NDArray[np.float32] = found * np.float32(epsilon / detector.manifest.config["epsilon"])
        return scaled

"""The evidence map that a network returns beside its logit, through any runtime."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers.base import Explainable, Explainer
from deepfake_core.runtimes.base import sigmoid


class EvidenceMap(Explainer):
    """Evidence map of the network: the probability that each cell was manipulated, enlarged bilinearly."""

    def explain(self, detector: Explainable, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        evidence = detector.score(crop[None]).evidence
        if evidence is None:
            raise DeepfakeError(f"detector {detector.manifest.name!r} has no evidence map; choose another explainer")
        return enlarge(sigmoid(evidence[0]), crop.shape[0], crop.shape[1])


def enlarge(cells: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Enlarge ``float32 [h, w]`` in [0, 1] to ``float32 [height, width]``, bilinearly."""
    resized = Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, dtype=np.float32), 0.0, 1.0)


def stretched(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale any ``[h, w]`` to ``float32 [h, w]`` from 0 at the lowest place to 1 at the highest; 0 where it is flat."""
    low, high = float(heat.min()), float(heat.max())
    return ((heat - low) / (high - low)).astype(np.float32) if high > low else np.zeros_like(heat, dtype=np.float32)

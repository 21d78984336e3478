"""The network's own second output, through any runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers import Explainer
from deepfake_core.handle.postprocess import probabilities

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


class EvidenceMap(Explainer):
    """Where the network says that the face was manipulated: a probability for each cell, smoothly enlarged."""

    def explain(self, detector: LoadedDetector, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        evidence = detector.score(crop[None]).evidence
        if evidence is None:
            raise DeepfakeError(f"detector {detector.manifest.name!r} has no evidence map; choose another explainer")
        return enlarge(probabilities(evidence[0]), crop.shape[0], crop.shape[1])


def enlarge(cells: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """``float32 [h, w]`` in [0, 1] → ``float32 [height, width]``, bilinear."""
    resized = Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, dtype=np.float32), 0.0, 1.0)


def stretched(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Any ``[h, w]`` → float32 from 0 at its lowest place to 1 at its highest; 0 where all are alike."""
    low, high = float(heat.min()), float(heat.max())
    return ((heat - low) / (high - low)).astype(np.float32) if high > low else np.zeros_like(heat, dtype=np.float32)

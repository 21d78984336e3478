"""The evidence map that a network returns beside its logit, through any runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers.base import Explainable, Explainer
from deepfake_core.runtimes.base import sigmoid

if TYPE_CHECKING:
    from deepfake_registry.manifest import Calibration, ModelManifest

LIMIT = "evidence_limit"
"""Key in the validation metrics of a manifest: the probability in [0, 1] above which the evidence map of one in twenty
real faces of the validation data has a place."""


class EvidenceMap(Explainer):
    """Evidence map of the network: the probability that each cell was manipulated, enlarged bilinearly.

    It is drawn relative to real faces: only places above :data:`LIMIT` have a colour. Without this number in the
    manifest, they are those that the network takes for manipulated rather than real.
    """

    caption = "where it looks manipulated"
    found = "The evidence is strongest {place}."

    def floor(self, manifest: ModelManifest) -> float:
        return _limit(manifest) or 0.5

    def colour_means(self, manifest: ModelManifest) -> str:
        if _limit(manifest) is None:
            return "Colour: places that the network takes for manipulated rather than real."
        return "Colour: stronger signs of manipulation than 95 of 100 real faces show anywhere."

    def sentence(self, place: str, *, whole: bool, p_fake: float, calibration: Calibration) -> str:
        if not place and calibration.verdict(p_fake) == "real":
            return "Nothing stands out: no place shows more signs of manipulation than real faces do."
        if whole:
            return f"The evidence covers most of the face, and is strongest {place}."
        return super().sentence(place, whole=whole, p_fake=p_fake, calibration=calibration)

    def explain(self, detector: Explainable, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        evidence = detector.score(crop[None]).evidence
        if evidence is None:
            raise DeepfakeError(f"detector {detector.manifest.name!r} has no evidence map; choose another explainer")
        return enlarge(sigmoid(evidence[0]), crop.shape[0], crop.shape[1])


def _limit(manifest: ModelManifest) -> float | None:
    measured = manifest.metrics.get("validation", {})
    limit = measured.get(LIMIT) if isinstance(measured, dict) else None
    return limit if isinstance(limit, float) and 0.0 < limit < 1.0 else None


def enlarge(cells: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Enlarge ``float32 [h, w]`` in [0, 1] to ``float32 [height, width]``, bilinearly."""
    resized = Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, dtype=np.float32), 0.0, 1.0)


def stretched(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale any ``[h, w]`` to ``float32 [h, w]`` from 0 at the lowest place to 1 at the highest; 0 where it is flat."""
    low, high = float(heat.min()), float(heat.max())
    return ((heat - low) / (high - low)).astype(np.float32) if high > low else np.zeros_like(heat, dtype=np.float32)

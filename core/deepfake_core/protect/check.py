"""Whether a picture may be protected: a perturbation that hides a fake from detectors is refused."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from deepfake_core.discovery import plugins
from deepfake_core.errors import InputError
from deepfake_core.loading.load import load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.handle.predictor import Predictor


def check_not_fake(
    protector: LoadedDetector, pixels: NDArray[np.uint8], name: str, reason: str
) -> tuple[dict[str, Any], ...]:
    """Judge a picture by every installed detector of pictures whose package holds trained weights.

    Args:
        protector: Detector whose network computes the perturbation; it does not judge.
        pixels: Picture, ``uint8 [H, W, 3]`` RGB.
        name: Name of the picture, for the error.
        reason: Reason to protect the picture whatever they say; empty for none.

    Returns:
        Name and version, verdict, and P(fake) of each detector: ``detector``, ``verdict``, ``p_fake``; empty where no
        such detector is installed.

    Raises:
        InputError: A detector calls a face fake, and no reason is given.
    """
    found = []
    for judge in judges(protector.manifest.architecture):
        result = judge.predict(pixels)
        if result.verdict == "fake" and not reason:
            raise InputError(
                name,
                f"{result.detector} calls a face fake (P(fake) {result.p_fake:.1%}), and protection would hide that: "
                "not protected. If you know that the picture is genuine, say so: dfbench protect --reason TEXT, or "
                "protect(..., reason=TEXT)",
            )
        found.append({"detector": result.detector, "verdict": result.verdict, "p_fake": result.p_fake})
    return tuple(found)


@lru_cache(maxsize=4)
def judges(protector: str) -> tuple[Predictor, ...]:
    """Load the installed detectors of pictures, other than a protector, whose packages hold trained weights."""
    names = [name for name, known in plugins.detectors().items() if known.spec.weights and name != protector]
    loaded = [load(name, device="cpu") for name in names]
    return tuple(one for one in loaded if one.manifest.weights == "trained" and one.manifest.preprocess.clip is None)

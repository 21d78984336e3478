"""The runtime of an ensemble: every member on its own cut of the same faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfake_core.runtimes.base import Outputs, Runtime

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_registry.manifest import ModelManifest

ARCHITECTURE = "ensemble"
MEMBERS = "members"
"""Name of the further output that holds the calibrated and bounded logits of the members, ``float32 [N, members]``."""

CERTAIN = 6.0
"""Log-odds, 400 to 1, up to which a member's calibrated logit counts in full."""


def bounded(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return calibrated logits, float64 of any shape; what goes beyond :data:`CERTAIN` counts by its logarithm.

    No validation set supports odds of a billion to one. A member whose temperature came out far too small would
    otherwise outweigh all others. The order of logits stays as it is.
    """
    size = np.abs(logit)
    kept: NDArray[np.float64] = np.minimum(size, CERTAIN) + np.log1p(np.maximum(size - CERTAIN, 0.0))
    return np.copysign(kept, logit)


class EnsembleRuntime(Runtime):
    """Runs every member on its own cut of the same faces, and combines their calibrated logits.

    Args:
        members: Loaded detectors.
        cuts: For each member, the index of the cut that it takes.
        manifest: Manifest of the ensemble.
    """

    name: ClassVar[str] = ARCHITECTURE

    def __init__(self, members: Sequence[LoadedDetector], cuts: Sequence[int], manifest: ModelManifest) -> None:
        self.members = tuple(members)
        self.cuts = tuple(cuts)
        self.manifest = manifest
        self.device = members[0].runtime.device
        self.weights: NDArray[np.float64] = np.asarray(manifest.config["weights"], np.float64)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Run members that all take the same cut, ``uint8 [N, H, W, 3]`` RGB or clips ``uint8 [N, T, H, W, 3]``."""
        return self.run_cuts([images])

    def run_cuts(self, cuts: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Run members that take different cuts.

        Args:
            cuts: The same N faces in each of the cuts that members take, ``uint8 [N, H, W, 3]`` RGB each.
        """
        columns = []
        for member, index in zip(self.members, self.cuts, strict=True):
            calibration = member.manifest.calibration
            logit = member.runtime.run(cuts[index]).logit.astype(np.float64)
            columns.append(bounded(logit / calibration.temperature + calibration.bias))
        calibrated = np.stack(columns, axis=1)
        return Outputs((calibrated @ self.weights).astype(np.float32), extra={MEMBERS: calibrated.astype(np.float32)})

"""The records of what this package offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core import DetectorSpec, hookimpl, read_targets


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """Yield the record of ``dualstream``."""
    yield DetectorSpec(
        name="dualstream",
        summary="EfficientNet-B4 and B0 with ConvLSTMs over the frames of a video",
        detector="deepfake_dualstream.detector:DualStreamDetector",
        install="deepfake-dualstream[torch]",
        kind="video",
        targets=read_targets(__package__),
    )

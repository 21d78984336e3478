"""The records of what this package offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core import DetectorSpec, hookimpl, read_targets


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """Yield the record of ``radar``."""
    yield DetectorSpec(
        name="radar",
        summary="ViT-S/16 that reasons over boundary and frequency evidence",
        detector="deepfake_radar.detector:Radar",
        install="deepfake-radar[torch]",
        targets=read_targets(__package__),
    )

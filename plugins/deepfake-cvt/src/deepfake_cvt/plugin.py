"""The records of what this package offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core import DetectorSpec, hookimpl, read_targets


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """Yield the record of ``cvt``."""
    yield DetectorSpec(
        name="cvt",
        summary="CvT-13, convolutions within a transformer; head first, then fine-tuned",
        detector="deepfake_cvt.detector:Cvt",
        install="deepfake-cvt[torch]",
        targets=read_targets(__package__),
    )

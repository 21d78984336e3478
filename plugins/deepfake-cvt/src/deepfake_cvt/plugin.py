"""What this distribution offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.hookspecs import hookimpl
from deepfake_core.specs import DetectorSpec, Target


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """The ``cvt`` detector."""
    yield DetectorSpec(
        name="cvt",
        summary="CvT-13, convolutions within a transformer; head first, then fine-tuned",
        detector="deepfake_cvt.detector:Cvt",
        install="deepfake-cvt[torch]",
        targets=(
            Target(
                metric="latency_ms_p50",
                scenario="single_stream",
                comparison="<=",
                value=484.0,
                source="torch eager on 2 cores, the time to beat",
                condition="2 CPU cores",
            ),
        ),
    )

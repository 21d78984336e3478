"""What this distribution offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.hookspecs import hookimpl
from deepfake_core.specs import DetectorSpec, Target


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """The ``lite`` detector."""
    yield DetectorSpec(
        name="lite",
        summary="EfficientNet-Lite0 with an evidence map; small and fast on CPUs",
        detector="deepfake_lite.detector:Lite",
        weights="deepfake_lite:weights",
        install="deepfake-lite[torch]",
        targets=(
            Target(
                metric="latency_ms_p50",
                scenario="single_stream",
                comparison="<=",
                value=12.0,
                source="lite: forward pass at batch 1",
                condition="2 CPU cores",
            ),
            Target(
                metric="file_mb",
                scenario="cold_start",
                comparison="<=",
                value=8.0,
                source="lite: size of the model file",
            ),
            Target(
                metric="auc",
                scenario="accuracy",
                comparison=">=",
                value=0.90,
                source="lite: design goal, mean over the sources of the evaluation set",
                condition="dataset: evaluation",
            ),
            Target(
                metric="auc_lowest_source",
                scenario="accuracy",
                comparison=">=",
                value=0.75,
                source="lite: design goal, lowest source of the evaluation set",
                condition="dataset: evaluation",
            ),
        ),
    )

"""What this distribution offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.hookspecs import hookimpl
from deepfake_core.specs import DetectorSpec, Target

_WILD_DEEPFAKE = "dataset: wilddeepfake"
_TRAINING = (  # preset, pictures per second, GB of GPU memory
    ("fast", 800.0, 35.0),
    ("full", 500.0, 25.0),
)


def _targets() -> Iterable[Target]:
    yield Target(
        metric="auc", scenario="accuracy", comparison=">=", value=0.9187, source="004-9", condition=_WILD_DEEPFAKE
    )
    yield Target(
        metric="accuracy", scenario="accuracy", comparison=">=", value=0.8756, source="004-9", condition=_WILD_DEEPFAKE
    )
    for preset, rate, memory in _TRAINING:
        condition = f"GPU: A40; preset: {preset}"
        yield Target(
            metric="images_per_s",
            scenario="train_throughput",
            comparison=">=",
            value=rate,
            source="004-12",
            condition=condition,
        )
        yield Target(
            metric="gpu_memory_gb",
            scenario="train_throughput",
            comparison="<=",
            value=memory,
            source="004-12",
            condition=condition,
        )
    yield Target(
        metric="file_mb",
        scenario="cold_start",
        comparison="<=",
        value=25.0,
        source="radar: size of the model file in the package",
    )
    yield Target(
        metric="latency_ms_p50",
        scenario="single_stream",
        comparison="<=",
        value=49.0,
        source="radar: what the encoder alone takes in ONNX Runtime, float32",
        condition="2 CPU cores",
    )


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """The ``radar`` detector."""
    yield DetectorSpec(
        name="radar",
        summary="ViT-S/16 that reasons over boundary and frequency evidence",
        detector="deepfake_radar.detector:Radar",
        install="deepfake-radar[torch]",
        targets=tuple(_targets()),
    )

"""What this distribution offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.hookspecs import hookimpl
from deepfake_core.specs import DetectorSpec, Target

# 003-14: accuracy and AUC documented for each preset on Celeb-DF v2.
_DOCUMENTED = {"baseline (B4 + B0, 10 frames)": (0.96, 0.98),
               "fast (B0 + B0, 8 frames)": (0.94, 0.96),
               "high-accuracy (B5 + B1, 12 frames)": (0.98, 0.99)}  # fmt: skip
_CELEB_DF = "dataset: celeb-df-v2"


def _accuracy_targets() -> Iterable[Target]:
    for preset, values in _DOCUMENTED.items():
        for metric, value in zip(("accuracy", "auc"), values, strict=True):
            yield Target(
                metric=metric,
                scenario="accuracy",
                comparison=">=",
                value=value,
                source="003-14",
                condition=f"{_CELEB_DF}, preset: {preset}",
            )
    yield Target(metric="auc", scenario="accuracy", comparison=">=", value=0.95, source="003-14", condition=_CELEB_DF)


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """The ``dualstream`` detector."""
    yield DetectorSpec(
        name="dualstream",
        summary="EfficientNet-B4 and B0 with ConvLSTMs over the frames of a video",
        detector="deepfake_dualstream.detector:DualStreamDetector",
        install="deepfake-dualstream[torch]",
        kind="video",
        targets=(
            *_accuracy_targets(),
            Target(
                metric="gpu_memory_gb",
                scenario="train_throughput",
                comparison="<=",
                value=14.0,
                source="003-15",
                condition="batch 12, 10 frames, mixed precision",
            ),
        ),
    )

"""What this distribution offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.hookspecs import hookimpl
from deepfake_core.specs import DetectorSpec, Target

REPOSITORY = "prithivMLmods/deepfake-detector-model-v1"
"""The checkpoint of the documented numbers, on the Hugging Face Hub."""
INSTALL = "deepfake-siglip[torch]"

# Measured with the Transformers library on one picture; image 16 ms + preprocess 3.1 ms + forward 292.2 ms = 311.3 ms.
_DOCUMENTED = (
    ("load_ms", "cold_start", 11_670.0, "000-9: loading", "CPU"),
    ("total_ms_p50", "cold_start", 11_990.0, "000-9: everything for one picture", "CPU"),
    ("latency_ms_p50", "single_stream", 292.2, "000-9: forward pass", "CPU"),
    ("predict_ms_p50", "single_stream", 311.3, "000-9, 10: image, preprocessing and forward pass, warm", "CPU"),
    ("latency_ms_p50", "single_stream", 58.4, "000-11: a fifth of the CPU's forward pass", "GPU: cuda"),
)


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """The ``siglip`` detector."""
    yield DetectorSpec(
        name="siglip",
        summary="SigLIP ViT-B/16 on whole pictures, with weights from the Hugging Face Hub",
        detector="deepfake_siglip.detector:Siglip",
        hub=REPOSITORY,
        install=INSTALL,
        targets=tuple(
            Target(metric=metric, scenario=scenario, comparison="<=", value=value, source=source, condition=condition)
            for metric, scenario, value, source, condition in _DOCUMENTED
        ),
    )

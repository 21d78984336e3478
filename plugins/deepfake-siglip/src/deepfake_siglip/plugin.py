"""What this distribution offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core import DetectorSpec, hookimpl, read_targets

REPOSITORY = "prithivMLmods/deepfake-detector-model-v1"
"""The checkpoint of the documented numbers, on the Hugging Face Hub."""
INSTALL = "deepfake-siglip[torch]"


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """The ``siglip`` detector."""
    yield DetectorSpec(
        name="siglip",
        summary="SigLIP ViT-B/16 on whole pictures, with weights from the Hugging Face Hub",
        detector="deepfake_siglip.detector:Siglip",
        hub=REPOSITORY,
        install=INSTALL,
        targets=read_targets(__package__),
    )

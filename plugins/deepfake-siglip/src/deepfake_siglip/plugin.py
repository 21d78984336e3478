"""The records of what this package offers."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core import DetectorSpec, hookimpl, read_targets

REPOSITORY = "prithivMLmods/deepfake-detector-model-v1"
"""Repository of the default checkpoint on the Hugging Face Hub, which the documented numbers belong to."""
INSTALL = "deepfake-siglip[torch]"
"""Requirement that brings what loading and training need."""


@hookimpl
def deepfake_detectors() -> Iterable[DetectorSpec]:
    """Yield the record of ``siglip``."""
    yield DetectorSpec(
        name="siglip",
        summary="SigLIP ViT-B/16 on whole pictures, with weights from the Hugging Face Hub",
        detector="deepfake_siglip.detector:Siglip",
        hub=REPOSITORY,
        install=INSTALL,
        targets=read_targets(__package__),
    )

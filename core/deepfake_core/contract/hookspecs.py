"""The hooks that a plugin implements. Each yields records and imports nothing heavy.

An entry point in the group ``deepfake`` names a module that implements any of the hooks::

    [project.entry-points.deepfake]
    radar = "deepfake_radar.plugin"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from deepfake_core.contract.specs import DatasetSpec, DetectorSpec, ExplainerSpec, ExporterSpec, ProtectorSpec

MARK = "__deepfake_hook__"
"""Attribute of a function that implements a hook."""

Implementation = TypeVar("Implementation", bound=Callable[[], Iterable[Any]])


def hookimpl(function: Implementation) -> Implementation:
    """Mark a function of a plugin's module as an implementation of the hook that it is named after."""
    setattr(function, MARK, True)
    return function


def deepfake_detectors() -> Iterable[DetectorSpec]:  # type: ignore[empty-body]
    """Offer detectors.

    Example::

        @hookimpl
        def deepfake_detectors():
            yield DetectorSpec(
                name="radar",
                summary="ViT with artefact branches and iterative reasoning",
                detector="deepfake_radar.detector:RadarDetector",
                install="deepfake-radar[torch]",
            )
    """


def deepfake_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Offer dataset layouts.

    Example::

        @hookimpl
        def deepfake_datasets():
            yield DatasetSpec(
                name="image-folder",
                summary="folders real/ and fake/ of images",
                dataset="deepfake_core.datasets.layouts.image_folder:ImageFolder",
            )
    """


def deepfake_explainers() -> Iterable[ExplainerSpec]:  # type: ignore[empty-body]
    """Offer explainers.

    Example::

        @hookimpl
        def deepfake_explainers():
            yield ExplainerSpec(
                name="evidence",
                summary="the detector's own evidence map",
                explainer="deepfake_core.explainers.evidence:EvidenceMap",
            )
    """


def deepfake_protectors() -> Iterable[ProtectorSpec]:  # type: ignore[empty-body]
    """Offer protectors: detectors whose network also makes a perturbation that protects a face.

    Example::

        @hookimpl
        def deepfake_protectors():
            yield ProtectorSpec(
                name="unet",
                summary="a perturbation that disturbs face swappers",
                protector="deepfake_unet.protector:UnetProtector",
            )
    """


def deepfake_exporters() -> Iterable[ExporterSpec]:  # type: ignore[empty-body]
    """Offer exporters: file formats that a trained detector can be written in.

    Example::

        @hookimpl
        def deepfake_exporters():
            yield ExporterSpec(
                name="onnx",
                summary="ONNX, for ONNX Runtime and most other runtimes",
                exporter="deepfake_exports.formats.onnx:export_onnx",
                suffix=".onnx",
                precisions=("fp32", "int8"),
            )
    """

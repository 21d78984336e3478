"""The hooks that a plugin implements: each yields records, and imports nothing heavy to do so.

An entry point in the group ``deepfake`` names a module that implements any of them::

    [project.entry-points.deepfake]
    radar = "deepfake_radar.plugin"
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from deepfake_core.contract.specs import DatasetSpec, DetectorSpec, ExplainerSpec, ProtectorSpec

hookspec = pluggy.HookspecMarker("deepfake")
hookimpl = pluggy.HookimplMarker("deepfake")


@hookspec
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


@hookspec
def deepfake_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Offer dataset layouts.

    Example::

        @hookimpl
        def deepfake_datasets():
            yield DatasetSpec(
                name="image-folder",
                summary="real/… and fake/… folders of pictures",
                dataset="deepfake_core.datasets.layouts.image_folder:ImageFolder",
            )
    """


@hookspec
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


@hookspec
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

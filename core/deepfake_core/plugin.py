"""What the core itself offers, through the same hooks as any plugin."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.hookspecs import hookimpl
from deepfake_core.specs import DatasetSpec, ExplainerSpec


@hookimpl
def deepfake_datasets() -> Iterable[DatasetSpec]:
    """Folders of pictures."""
    yield DatasetSpec(
        name="image-folder",
        summary="real/… and fake/… folders of pictures, or <source>/{real,fake}/…",
        dataset="deepfake_core.datasets.image_folder:ImageFolder",
    )


@hookimpl
def deepfake_explainers() -> Iterable[ExplainerSpec]:
    """The network's own evidence map."""
    yield ExplainerSpec(
        name="evidence",
        summary="the detector's own evidence map: where the face looks manipulated",
        explainer="deepfake_core.explainers.evidence:EvidenceMap",
    )

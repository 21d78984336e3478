"""Detect deepfakes in images and videos of faces: ``load("lite").predict("photo.jpg")``.

The author of a plugin imports from here alone; the tests that a plugin must pass are in :mod:`deepfake_core.testing`.
Every name is imported on first use, so that ``import deepfake_core`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deepfake_core.telemetry import switch_off

switch_off()

if TYPE_CHECKING:
    from deepfake_core.contract.detector import Detector as Detector
    from deepfake_core.contract.detector import DetectorConfig as DetectorConfig
    from deepfake_core.contract.detector import ExplainLayer as ExplainLayer
    from deepfake_core.contract.detector import split_parameters as split_parameters
    from deepfake_core.contract.hookspecs import hookimpl
    from deepfake_core.contract.losses import bce as bce
    from deepfake_core.contract.losses import evidence_bce as evidence_bce
    from deepfake_core.contract.losses import evidence_overlap as evidence_overlap
    from deepfake_core.contract.losses import weighted_mean as weighted_mean
    from deepfake_core.contract.recipe import (
        Distil,
        LabelledKind,
        Optimizer,
        Pairs,
        Phase,
        PseudoFakes,
        Schedule,
        TrainRecipe,
    )
    from deepfake_core.contract.repository import Repository
    from deepfake_core.contract.specs import (
        DatasetSpec,
        DetectorSpec,
        ExplainerSpec,
        ExporterSpec,
        ProtectorSpec,
        Target,
        read_targets,
    )
    from deepfake_core.contract.training_set import TrainingSet as TrainingSet
    from deepfake_core.datasets import Dataset, Sample
    from deepfake_core.discovery.hub import find_repository
    from deepfake_core.discovery.plugins import import_object, list_detectors
    from deepfake_core.ensemble.ensemble import Ensemble
    from deepfake_core.errors import (
        ArtifactCorrupt,
        DeepfakeError,
        DuplicatePlugin,
        InputError,
        MissingExtra,
        ParityError,
        PluginLoadError,
        RegistryError,
        SignatureRefused,
        TargetMissed,
        TrainingDataError,
        UnknownDetector,
        WeightsUnavailable,
    )
    from deepfake_core.explainers import Explainer
    from deepfake_core.handle.explanation import Explanation
    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.handle.results import FaceResult, Result, Results
    from deepfake_core.inputs.boxes import Box, Face
    from deepfake_core.loading.load import load
    from deepfake_core.protect.protectors import Protector
    from deepfake_core.runtimes.torchvision_ops import ensure_torchvision as ensure_torchvision
    from deepfake_core.training.leave_out.runs import leave_one_out as leave_one_out
    from deepfake_core.training.recipes.presets import PRESETS, one_cycle, two_phase
    from deepfake_registry.manifest import (
        Clip,
        FaceCrop,
        Interpolation,
        LabelMap,
        Normalize,
        PreprocessSpec,
        Resize,
        TensorSpec,
        WholeImage,
    )

    __version__: str

# Names that need torch are left out: a star import must work without it.
__all__ = [
    "PRESETS",
    "ArtifactCorrupt",
    "Box",
    "Clip",
    "Dataset",
    "DatasetSpec",
    "DeepfakeError",
    "DetectorSpec",
    "Distil",
    "DuplicatePlugin",
    "Ensemble",
    "Explainer",
    "ExplainerSpec",
    "Explanation",
    "ExporterSpec",
    "Face",
    "FaceCrop",
    "FaceResult",
    "InputError",
    "Interpolation",
    "LabelMap",
    "LabelledKind",
    "LoadedDetector",
    "MissingExtra",
    "Normalize",
    "Optimizer",
    "Pairs",
    "ParityError",
    "Phase",
    "PluginLoadError",
    "PreprocessSpec",
    "Protector",
    "ProtectorSpec",
    "PseudoFakes",
    "RegistryError",
    "Repository",
    "Resize",
    "Result",
    "Results",
    "Sample",
    "Schedule",
    "SignatureRefused",
    "Target",
    "TargetMissed",
    "TensorSpec",
    "TrainRecipe",
    "TrainingDataError",
    "UnknownDetector",
    "WeightsUnavailable",
    "WholeImage",
    "__version__",
    "find_repository",
    "hookimpl",
    "import_object",
    "list_detectors",
    "load",
    "one_cycle",
    "read_targets",
    "two_phase",
]

_NAMES = {
    "deepfake_core.contract.detector": ("Detector", "DetectorConfig", "ExplainLayer", "split_parameters"),
    "deepfake_core.contract.hookspecs": ("hookimpl",),
    "deepfake_core.contract.losses": ("bce", "evidence_bce", "evidence_overlap", "weighted_mean"),
    "deepfake_core.contract.recipe": (
        "Distil",
        "LabelledKind",
        "Optimizer",
        "Pairs",
        "Phase",
        "PseudoFakes",
        "Schedule",
        "TrainRecipe",
    ),
    "deepfake_core.contract.repository": ("Repository",),
    "deepfake_core.contract.specs": (
        "DatasetSpec",
        "DetectorSpec",
        "ExplainerSpec",
        "ExporterSpec",
        "ProtectorSpec",
        "Target",
        "read_targets",
    ),
    "deepfake_core.contract.training_set": ("TrainingSet",),
    "deepfake_core.datasets": ("Dataset", "Sample"),
    "deepfake_core.discovery.hub": ("find_repository",),
    "deepfake_core.discovery.plugins": ("import_object", "list_detectors"),
    "deepfake_core.errors": (
        "ArtifactCorrupt",
        "DeepfakeError",
        "DuplicatePlugin",
        "InputError",
        "MissingExtra",
        "ParityError",
        "PluginLoadError",
        "RegistryError",
        "SignatureRefused",
        "TargetMissed",
        "TrainingDataError",
        "UnknownDetector",
        "WeightsUnavailable",
    ),
    "deepfake_core.explainers": ("Explainer",),
    "deepfake_core.handle.loaded": ("LoadedDetector",),
    "deepfake_core.ensemble.ensemble": ("Ensemble",),
    "deepfake_core.handle.explanation": ("Explanation",),
    "deepfake_core.handle.results": ("FaceResult", "Result", "Results"),
    "deepfake_core.inputs.boxes": ("Box", "Face"),
    "deepfake_core.loading.load": ("load",),
    "deepfake_core.protect.protectors": ("Protector",),
    "deepfake_core.runtimes.torchvision_ops": ("ensure_torchvision",),
    "deepfake_core.training.leave_out.runs": ("leave_one_out",),
    "deepfake_core.training.recipes.presets": ("PRESETS", "one_cycle", "two_phase"),
    "deepfake_registry.manifest": (
        "Clip",
        "FaceCrop",
        "Interpolation",
        "LabelMap",
        "Normalize",
        "PreprocessSpec",
        "Resize",
        "TensorSpec",
        "WholeImage",
    ),
}
"""Module → the public names that are imported from it on first use."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("deepfake-core")
    if name == "data":  # df.data.shortcuts(…): the only tool for datasets that is called by this way
        return importlib.import_module("deepfake_core.data")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from deepfake_core.errors import MissingExtra

        raise MissingExtra(f"deepfake_core.{name}", "deepfake-core[torch]") from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_HOMES})

"""Errors of this project, for users to import; :mod:`deepfake_registry.errors` defines them and their hierarchy."""

from deepfake_registry.errors import (
    ArtifactCorrupt,
    DeepfakeError,
    DuplicatePlugin,
    InputError,
    MissingExtra,
    MissingExtras,
    ParityError,
    PluginLoadError,
    RegistryError,
    SignatureRefused,
    TargetMissed,
    TrainingDataError,
    UnknownDetector,
    WeightsUnavailable,
)

__all__ = [
    "ArtifactCorrupt",
    "DeepfakeError",
    "DuplicatePlugin",
    "InputError",
    "MissingExtra",
    "MissingExtras",
    "ParityError",
    "PluginLoadError",
    "RegistryError",
    "SignatureRefused",
    "TargetMissed",
    "TrainingDataError",
    "UnknownDetector",
    "WeightsUnavailable",
]

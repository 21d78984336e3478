"""The project's errors, under the name that users import; the tree is drawn in :mod:`deepfake_registry.errors`."""

from deepfake_registry.errors import (
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

__all__ = [
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
]

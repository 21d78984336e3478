"""Judge face pictures and videos: ``load("lite").predict("photo.jpg")``.

Every public name is imported on first use, so that ``import deepfake_core`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepfake_core.contract.detector import Detector as Detector
    from deepfake_core.contract.detector import DetectorConfig as DetectorConfig
    from deepfake_core.discovery.plugins import list_detectors
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
    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.handle.results import FaceResult, Result
    from deepfake_core.inputs.boxes import Box, Face
    from deepfake_core.loading.load import load

    __version__: str

# Detector and DetectorConfig are left out: they need torch, and a star import must work without it.
__all__ = [
    "ArtifactCorrupt",
    "Box",
    "DeepfakeError",
    "DuplicatePlugin",
    "Face",
    "FaceResult",
    "InputError",
    "LoadedDetector",
    "MissingExtra",
    "ParityError",
    "PluginLoadError",
    "RegistryError",
    "Result",
    "SignatureRefused",
    "TargetMissed",
    "TrainingDataError",
    "UnknownDetector",
    "WeightsUnavailable",
    "__version__",
    "list_detectors",
    "load",
]

_HOMES = {
    "Box": "inputs.boxes",
    "Detector": "contract.detector",
    "DetectorConfig": "contract.detector",
    "Face": "inputs.boxes",
    "FaceResult": "handle.results",
    "LoadedDetector": "handle.loaded",
    "Result": "handle.results",
    "list_detectors": "discovery.plugins",
    "load": "loading.load",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("deepfake-core")
    if name not in _HOMES and name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "errors")
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from deepfake_core.errors import MissingExtra

        raise MissingExtra(f"deepfake_core.{name}", "deepfake-core[torch]") from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

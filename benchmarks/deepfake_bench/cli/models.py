"""The model that a command line names: an installed detector, a model file, a packaged model or a training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


def model_of(source: str) -> str:
    """Return the packaged model of a run where ``source`` is the folder of a run; anything else as it is.

    The name of an installed detector is always a name: a folder that is called so must not hide it.
    """
    from deepfake_core.discovery import plugins

    packaged = Path(source) / "model"
    return str(packaged) if packaged.is_dir() and source not in plugins.detectors() else source


def trained_model(source: str, *, weights: str | None = None, download: bool = False) -> LoadedDetector:
    """Load a detector's name, a model file or the folder of a run in torch.

    Raises:
        DeepfakeError: It is an ensemble, which has no network of its own.
    """
    from deepfake_core.handle.loaded import single
    from deepfake_core.loading.load import load

    return single(load(model_of(source), backend="torch", weights=weights, download=download))

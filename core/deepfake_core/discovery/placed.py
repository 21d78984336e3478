"""Models by a name alone: what lies in the folder that ``DEEPFAKE_WEIGHTS`` names, and the ensemble ``best``."""

from __future__ import annotations

import os
from pathlib import Path

from deepfake_core.discovery.artifacts import FORMATS
from deepfake_core.discovery.plugins import detectors, packaged_folder
from deepfake_core.errors import DeepfakeError, DuplicatePlugin, WeightsUnavailable

VARIABLE = "DEEPFAKE_WEIGHTS"
"""Environment variable that names the folder."""
BEST = "best"
"""Name of the ensemble that ships with a detector."""


def placed(name: str) -> Path | None:
    """Return the model that the folder holds under a name; ``None`` where it has none, or no folder is named.

    It is the folder ``NAME`` (of a package, a training run or an ensemble), or the file ``NAME.onnx``,
    ``NAME.safetensors`` or ``NAME.xml``.

    Args:
        name: Name that users type, such as that of a detector.

    Raises:
        DeepfakeError: The variable names no folder.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if not named:
        return None
    root = Path(named).expanduser()
    if not root.is_dir():
        raise DeepfakeError(f"{VARIABLE}={named}: is not a folder; name one that holds models, or unset {VARIABLE}")
    files = (root / f"{name}{suffix}" for suffix in FORMATS)
    return next((path for path in (root / name, *files) if path.exists()), None)


def place_of(name: str) -> Path | None:
    """Return where a model lies that is named by a word: what was placed, or the ensemble that ships as :data:`BEST`.

    ``None`` stands for a detector whose own weights are to be taken, and for a name that nothing has.

    Raises:
        WeightsUnavailable: It is :data:`BEST`, and no ensemble ships.
        DuplicatePlugin: It is :data:`BEST`, and several detectors bring one.
        DeepfakeError: ``DEEPFAKE_WEIGHTS`` names no folder.
    """
    return placed(name) or (_best_ensemble() if name == BEST and name not in detectors() else None)


def _best_ensemble() -> Path:
    offers = [(name, entry.spec.best) for name, entry in detectors().items() if entry.spec.best is not None]
    found = [(name, folder) for name, place in offers if (folder := packaged_folder(name, place)).is_dir()]
    if len(found) > 1:
        names = " and ".join(name for name, _ in found)
        raise DuplicatePlugin(f"{BEST!r} is offered by {names}; uninstall one of them, or load one by its path")
    if not found:
        with_weights = [name for name, entry in detectors().items() if entry.spec.weights or entry.spec.hub]
        raise WeightsUnavailable(
            f"{BEST!r} is an ensemble, and none ships with the installed detectors; load one of these: "
            f"{', '.join(with_weights) or 'none has weights'}",
            f"make one: dfbench ensemble lite runs/mine --out FOLDER/{BEST} --data valid-set; set {VARIABLE}=FOLDER",
        )
    return found[0][1]

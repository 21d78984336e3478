"""Models outside of packages: what a user placed in the folder that ``DEEPFAKE_WEIGHTS`` names."""

from __future__ import annotations

import os
from pathlib import Path

from deepfake_core.discovery.artifacts import FORMATS
from deepfake_core.errors import DeepfakeError

VARIABLE = "DEEPFAKE_WEIGHTS"
"""Environment variable that names the folder."""


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

"""Switch off what libraries would report to their makers, and their search for newer releases of themselves.

It takes effect where it comes before their import; ``import deepfake_core`` does it first of all. What the user has
chosen already, by an environment variable or by OpenVINO's file of consent, stays as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, and transformers and datasets with it
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets
    "DISABLE_SAFETENSORS_CONVERSION": "1",  # transformers asks a server to convert pickled weights
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow
    "WANDB_ERROR_REPORTING": "false",  # Weights & Biases
    "GRADIO_ANALYTICS_ENABLED": "False",  # Gradio
}
"""Environment variable → value that switches a library's reports off."""


def switch_off() -> None:
    """Switch the reports of all libraries off, except where the user has chosen otherwise."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    # OpenVINO and NNCF have no variable for it; they report nothing where the package that does so cannot be imported.
    if "openvino_telemetry" not in sys.modules and not _consents_to_openvino():
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def _consents_to_openvino() -> bool:
    """Whether the user has agreed to OpenVINO's reports, by its command ``opt_in_out --opt_in``."""
    windows = os.environ.get("LOCALAPPDATA") if os.name == "nt" else None
    folder = Path(windows, "Intel Corporation") if windows else Path("~", "intel")
    try:
        return (folder.expanduser() / "openvino_telemetry").read_text(encoding="utf-8").strip() == "1"
    except (OSError, RuntimeError, ValueError):
        return False

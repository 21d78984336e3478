"""Nothing heavy at start-up, and every public name is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "PIL", "accelerate", "av", "cv2", "numpy", "onnx", "onnxruntime", "pydantic", "scipy", "sklearn",
    "timm", "torch", "torchvision", "transformers",
)  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """Modules of :data:`HEAVY` that a fresh process has after running ``code``."""
    script = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import deepfake_core",
        "import deepfake_core; deepfake_core.__version__; deepfake_core.Result; deepfake_core.InputError",
        "import deepfake_core; deepfake_core.list_detectors('*')",
        "from deepfake_core.discovery import plugins; plugins.detectors(), plugins.failures(), plugins.explainers()",
    ],
)
def test_start_up_imports_nothing_heavy(code: str) -> None:
    assert loaded_by(code) == set()


def test_base_install_predicts_without_torch() -> None:
    code = "import deepfake_core.loading.load, deepfake_core.runtimes.onnxruntime, deepfake_core.explainers.overlay"
    assert not loaded_by(code) & {"torch", "onnx", "accelerate", "timm", "transformers", "sklearn", "scipy"}


def test_every_public_name_is_there() -> None:
    import deepfake_core

    for name in deepfake_core.__all__:
        assert getattr(deepfake_core, name) is not None
    assert set(deepfake_core.__all__) <= set(dir(deepfake_core))
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = deepfake_core.laod
    exec("from deepfake_core import *", {})


def test_detector_without_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import deepfake_core

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "deepfake_core.contract.detector", raising=False)
    with pytest.raises(deepfake_core.MissingExtra, match=r"pip install 'deepfake-core\[torch\]'"):
        _ = deepfake_core.Detector

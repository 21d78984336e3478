"""The names that the author of a plugin imports from ``deepfake_core``, with torch and without it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

import deepfake_core
from deepfake_core.discovery.plugins import import_object

TORCH_SIDE = {
    "Detector", "DetectorConfig", "ExplainLayer", "TrainingSet", "bce", "ensure_torchvision", "evidence_bce",
    "evidence_overlap", "leave_one_out", "split_parameters", "weighted_mean",
}  # fmt: skip
WITHOUT_TORCH = "import sys\nsys.modules['torch'] = None\n"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_says_where_it_is_and_is_there():
    assert set(deepfake_core._HOMES) == {*deepfake_core.__all__, *TORCH_SIDE} - {"__version__"}
    assert not TORCH_SIDE & set(deepfake_core.__all__)
    assert set(dir(deepfake_core)) >= set(deepfake_core._HOMES)
    for name in deepfake_core._HOMES if find_spec("torch") else set(deepfake_core.__all__) - {"__version__"}:
        assert getattr(deepfake_core, name) is not None


def test_all_other_names_are_there_without_torch():
    assert run(f"{WITHOUT_TORCH}from deepfake_core import *\nprint(TrainRecipe().seed, Protector.__name__)") == (
        "42 Protector\n"
    )


def test_records_import_nothing_heavy():
    names = "DatasetSpec, DetectorSpec, ExplainerSpec, ExporterSpec, ProtectorSpec, Target, hookimpl, read_targets"
    heavy = ("numpy", "pydantic", "PIL", "torch")
    code = f"from deepfake_core import {names}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    assert run(code) == "[]\n"


def test_a_plugin_without_torch_names_its_own_extra(tmp_path, monkeypatch):
    (tmp_path / "my_detector.py").write_text("from deepfake_core import Detector\nclass Mine(Detector): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "deepfake_core.contract.detector", raising=False)
    with pytest.raises(deepfake_core.MissingExtra, match=r"module 'torch'.*pip install 'my-detector\[torch\]'"):
        import_object("my_detector:Mine", install="my-detector[torch]")

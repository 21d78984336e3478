"""The package that a distribution ships keeps what the model was trained on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deepfake_core.discovery.artifacts import read_package, write_package
from deepfake_core.discovery.training_groups import TrainingGroups
from deepfake_exports.package import export_package

pytestmark = pytest.mark.torch
WEIGHTS = Path(__file__).parents[2] / "core" / "tests" / "tiny_plugin" / "deepfake_tiny" / "weights"


def test_an_exported_package_keeps_the_training_groups(tmp_path: Path) -> None:
    manifest = read_package(WEIGHTS).manifest
    TrainingGroups.of(["a/1"], ["a/2"]).save(tmp_path / "groups.bin")
    run = write_package(tmp_path / "run", manifest, {}, tmp_path / "groups.bin")

    def export(*_: Any, out: Path) -> Path:
        out.write_bytes(b"onnx")
        return out

    detector: Any = SimpleNamespace(manifest=manifest, package=run, network=torch.nn.Linear(2, 1), export=export)
    package = export_package(detector, "onnx", "fp32", tmp_path / "package")
    assert sorted(package.manifest.files) == ["onnx", "safetensors"]
    assert package.manifest.training_groups == run.manifest.training_groups
    assert package.groups_file() is not None
    detector.package = None
    assert export_package(detector, "onnx", "fp32", tmp_path / "bare").groups_file() is None

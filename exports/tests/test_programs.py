"""Files that are torch programs: ``torch.export``'s archive and TorchScript."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from deepfake_core import load
from deepfake_core.errors import DeepfakeError, InputError, ParityError
from deepfake_exports.formats import pt2, torchscript
from deepfake_exports.parity import torch_run
from deepfake_exports.request import graph_of
from deepfake_registry.manifest import MANIFEST_KEY, ModelManifest


@dataclass(frozen=True)
class Format:
    """One of them: the module that writes it, its function, and what reads the module and the manifest's text."""

    name: str
    module: ModuleType
    export: Callable[..., Path]
    read: Callable[[Path], tuple[Any, str | bytes]]


def read_pt2(path):
    with zipfile.ZipFile(path) as archive:
        (extra,) = (name for name in archive.namelist() if name.endswith(f"extra/{MANIFEST_KEY}"))
        text = archive.read(extra)
    with path.open("rb") as stream:
        return torch.export.load(stream).module(), text


def read_torchscript(path):
    extra = {MANIFEST_KEY: ""}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is deprecated", category=DeprecationWarning)
        return torch.jit.load(str(path), _extra_files=extra), extra[MANIFEST_KEY]


FORMATS = (
    pytest.param(Format("pt2", pt2, pt2.export_pt2, read_pt2), id="pt2"),
    pytest.param(
        Format("torchscript", torchscript, torchscript.export_torchscript, read_torchscript),
        id="torchscript",
        marks=pytest.mark.torchscript,
    ),
)


@pytest.fixture(params=FORMATS)
def format(request):
    return request.param


def test_the_file_agrees_with_the_network_and_carries_its_manifest(case, tmp_path, format):
    out = format.export(case.detector, case.network, case.manifest, tmp_path / "model", calibration_images=case.images)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    loaded, text = format.read(out)
    assert ModelManifest.model_validate_json(text) == case.manifest
    for count in (1, 7, len(case.images)):  # any batch, not that of the trace
        models = (graph_of(case.network, case.manifest), loaded)
        want, got = (torch_run(model, case.manifest)(case.images[:count]) for model in models)
        np.testing.assert_allclose(got.logit, want.logit, atol=1e-4)
        np.testing.assert_allclose(got.evidence, want.evidence, atol=1e-3)


def test_a_disagreeing_file_is_refused_and_nothing_stays_behind(case, tmp_path, monkeypatch, format):
    def other_weights(network, manifest):
        torch.manual_seed(99)
        return graph_of(type(network)(), manifest)

    models = iter([graph_of(case.network, case.manifest), other_weights(case.network, case.manifest)])
    monkeypatch.setattr(format.module, "torch_run", lambda _, manifest: torch_run(next(models), manifest))
    with pytest.raises(ParityError, match=format.name):
        format.export(case.detector, case.network, case.manifest, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_only_full_precision_is_offered(case, tmp_path, format):
    with pytest.raises(DeepfakeError, match="choose one of fp32"):
        format.export(case.detector, case.network, case.manifest, tmp_path / "model", precision="int8")


def test_load_takes_no_program_of_another_library(tmp_path):
    for name in ("model.pt2", "model.pt"):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(InputError, match=r"not a model file; expected a package folder or one of \.onnx"):
            load(tmp_path / name)

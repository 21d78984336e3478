from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch

from deepfake_core import load
from deepfake_core.errors import DeepfakeError, InputError, ParityError
from deepfake_exports import pt2
from deepfake_exports.parity import torch_run
from deepfake_exports.pt2 import export_pt2
from deepfake_exports.request import graph_of
from deepfake_registry.manifest import MANIFEST_KEY, ModelManifest


def test_the_file_agrees_with_the_network_and_carries_its_manifest(case, tmp_path):
    out = export_pt2(case.detector, case.network, case.manifest, tmp_path / "model.pt2", calibration_images=case.images)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    with zipfile.ZipFile(out) as archive:
        (extra,) = (name for name in archive.namelist() if name.endswith(f"extra/{MANIFEST_KEY}"))
        assert ModelManifest.model_validate_json(archive.read(extra)) == case.manifest
    with out.open("rb") as stream:
        loaded = torch.export.load(stream).module()
    for count in (1, 7):  # any batch, not that of the trace
        batch = case.images[:count]
        want, got = (
            torch_run(model, case.manifest)(batch) for model in (graph_of(case.network, case.manifest), loaded)
        )
        np.testing.assert_allclose(got.logit, want.logit, atol=1e-4)
        np.testing.assert_allclose(got.evidence, want.evidence, atol=1e-3)


def test_a_disagreeing_file_is_refused_and_nothing_stays_behind(case, tmp_path, monkeypatch):
    def other_weights(network, manifest):
        torch.manual_seed(99)
        return graph_of(type(network)(), manifest)

    models = iter([graph_of(case.network, case.manifest), other_weights(case.network, case.manifest)])
    real_run = pt2.torch_run
    monkeypatch.setattr(pt2, "torch_run", lambda _, manifest: real_run(next(models), manifest))
    with pytest.raises(ParityError, match="pt2"):
        export_pt2(case.detector, case.network, case.manifest, tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def test_only_full_precision_is_offered(case, tmp_path):
    with pytest.raises(DeepfakeError, match="choose one of fp32"):
        export_pt2(case.detector, case.network, case.manifest, tmp_path / "m.pt2", precision="int8")


def test_load_takes_no_program_of_another_library(tmp_path):
    for name in ("model.pt2", "model.pt"):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(InputError, match=r"not a model file; expected a package folder or one of \.onnx"):
            load(tmp_path / name)

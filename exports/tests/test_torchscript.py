from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from deepfake_core.errors import DeepfakeError, ParityError
from deepfake_exports import torchscript
from deepfake_exports.parity import torch_run
from deepfake_exports.request import graph_of
from deepfake_exports.torchscript import export_torchscript
from deepfake_registry.manifest import MANIFEST_KEY, ModelManifest

pytestmark = pytest.mark.torchscript


def test_the_file_agrees_with_the_network_and_carries_its_manifest(case, tmp_path):
    out = export_torchscript(
        case.detector, case.network, case.manifest, tmp_path / "model.pt", calibration_images=case.images
    )
    extra = {MANIFEST_KEY: ""}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is deprecated", category=DeprecationWarning)
        loaded = torch.jit.load(str(out), _extra_files=extra)
    assert ModelManifest.model_validate_json(extra[MANIFEST_KEY]) == case.manifest
    models = (graph_of(case.network, case.manifest), loaded)
    want, got = (torch_run(model, case.manifest)(case.images) for model in models)
    np.testing.assert_allclose(got.logit, want.logit, atol=1e-4)
    np.testing.assert_allclose(got.evidence, want.evidence, atol=1e-3)


def test_a_disagreeing_file_is_refused_and_nothing_stays_behind(case, tmp_path, monkeypatch):
    def other_weights(network, manifest):
        torch.manual_seed(99)
        return graph_of(type(network)(), manifest)

    models = iter([graph_of(case.network, case.manifest), other_weights(case.network, case.manifest)])
    real_run = torchscript.torch_run
    monkeypatch.setattr(torchscript, "torch_run", lambda _, manifest: real_run(next(models), manifest))
    with pytest.raises(ParityError, match="torchscript"):
        export_torchscript(case.detector, case.network, case.manifest, tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_only_full_precision_is_offered(case, tmp_path):
    with pytest.raises(DeepfakeError, match="choose one of fp32"):
        export_torchscript(case.detector, case.network, case.manifest, tmp_path / "m.pt", precision="int8")

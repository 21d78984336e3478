from __future__ import annotations

import numpy as np
import openvino
import pytest

from deepfake_core.errors import ParityError
from deepfake_exports import openvino as exporter
from deepfake_exports.openvino import RT_INFO, export_openvino, openvino_run
from deepfake_exports.parity import torch_run
from deepfake_exports.request import graph_of
from deepfake_registry.manifest import ModelManifest

pytestmark = pytest.mark.openvino


def test_the_files_agree_with_the_network_and_carry_its_manifest(case, tmp_path):
    out = export_openvino(
        case.detector, case.network, case.manifest, tmp_path / "model.xml", calibration_images=case.images
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    info = openvino.Core().read_model(out).get_rt_info(RT_INFO)
    assert ModelManifest.model_validate_json(info.astype(str)) == case.manifest
    want = torch_run(graph_of(case.network, case.manifest), case.manifest)(case.images)
    got = openvino_run(out)(case.images)
    np.testing.assert_allclose(got.logit, want.logit, atol=1e-4)
    np.testing.assert_allclose(got.evidence, want.evidence, atol=1e-3)


def test_a_disagreeing_file_is_refused_and_nothing_stays_behind(case, tmp_path, monkeypatch):
    real_run = openvino_run

    def shifted(path):
        run = real_run(path)
        return lambda images: run(255 - images)

    monkeypatch.setattr(exporter, "openvino_run", shifted)
    with pytest.raises(ParityError, match="openvino"):
        export_openvino(case.detector, case.network, case.manifest, tmp_path / "model.xml")
    assert list(tmp_path.iterdir()) == []

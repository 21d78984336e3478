"""The contract of every detector, for ``cvt`` on its smallest backbone."""

import pytest

from deepfake_core.loading.load import load
from deepfake_core.testing import DetectorContract


class TestCvt(DetectorContract):
    detector = "cvt"
    config = {"backbone": "cvt-test", "image_size": 64}


@pytest.mark.onnxruntime
def test_the_documented_size_exports(tmp_path):
    """One file of 19.6 million parameters; exporting compares it with the network."""
    detector = load("cvt", untrained=True, device="cpu")
    model = detector.export(out=tmp_path / "model.onnx")
    assert 75e6 < model.stat().st_size < 85e6
    assert load(model, device="cpu").manifest.preprocess.size == (256, 256)

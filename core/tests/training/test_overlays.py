"""Overlays of validation samples, and GradCAM."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepfake_core.contract.detector import Detector, ExplainLayer
from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.explainers.gradcam import GradCam
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.runtimes.torch import TorchRuntime
from deepfake_core.training.overlays import write_overlays
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage

needs_gradcam = pytest.mark.skipif(find_spec("pytorch_grad_cam") is None, reason="grad-cam is not installed")

SIDE = 32


class Brightest(nn.Module):
    """Bright places speak for a fake, dark ones for a real face; with tokens instead of cells when asked."""

    def __init__(self, tokens: bool, evidence: bool) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 4, stride=4, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None] / 48)
        self.tokens = nn.Flatten(2) if tokens else nn.Identity()
        self.evidence = evidence

    def forward(self, images: torch.Tensor):
        cells = self.tokens(self.features(images).relu())
        logit = (cells[:, 0] - cells[:, 1]).flatten(1).mean(1)
        return (logit, self.features(images)[:, 0]) if self.evidence else logit


class Shown(Detector):
    preprocess = PreprocessSpec(
        crop=WholeImage(), resize=Resize(height=SIDE, width=SIDE), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
    )

    def __init__(self, layers: bool = True, tokens: bool = False, evidence: bool = False) -> None:
        super().__init__()
        self.layers, self.tokens = layers, tokens
        self.evidence_size = (8, 8) if evidence else None

    def build(self) -> nn.Module:
        return Brightest(self.tokens, self.evidence_size is not None).eval()

    def explain_layers(self, network):
        reshape = (lambda cells: cells.unflatten(2, (8, 8))) if self.tokens else None
        return (ExplainLayer(network.tokens, reshape),) if self.layers else ()


def loaded(**options) -> LoadedDetector:
    detector = Shown(**options)
    runtime = TorchRuntime(detector.build(), detector.manifest("shown", "trained"), device="cpu", threads=1)
    found = LoadedDetector(None, runtime)
    found.__dict__["detector"] = detector
    return found


@pytest.fixture
def crops():
    """Grey, with one bright and one dark place; the first is fake over all, the second real."""
    pictures = np.full((2, SIDE, SIDE, 3), 128, np.uint8)
    pictures[:, 4:12, 4:12] = 255
    pictures[:, 20:28, 20:28] = 0
    pictures[0, 4:12, 12:16] = 255
    pictures[1, 20:28, 16:20] = 0
    return pictures


# 001-21
@needs_gradcam
@pytest.mark.parametrize("tokens", [False, True])
def test_gradcam_shows_where_the_class_is(crops, tokens):
    detector = loaded(tokens=tokens)
    for parameter in detector.network.parameters():
        parameter.requires_grad_(False)
    explainer = GradCam()
    fake = explainer.explain(detector, crops[0])
    explainer.target = "real"
    real = explainer.explain(detector, crops[0])
    assert fake.shape == (SIDE, SIDE)
    assert fake.dtype == np.float32
    assert 0 <= fake.min() <= fake.max() <= 1
    assert fake[6:10, 6:10].mean() > 0.9 > 0.1 > fake[22:26, 22:26].mean()
    assert real[22:26, 22:26].mean() > 0.9 > 0.1 > real[6:10, 6:10].mean()


@needs_gradcam
def test_gradcam_leaves_no_trace_in_the_network(crops):
    detector = loaded()
    before = {name: value.clone() for name, value in detector.network.state_dict().items()}
    GradCam().explain(detector, crops[0])
    assert all(parameter.grad is None for parameter in detector.network.parameters())
    assert not detector.network.tokens._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in detector.network.state_dict().items())


def test_a_detector_without_layers_is_told(crops):
    with pytest.raises(DeepfakeError, match="'shown' names no layers"):
        GradCam().explain(loaded(layers=False), crops[0])


# 001-11, 001-21
@needs_gradcam
def test_every_sample_gets_an_overlay(crops, tmp_path):
    files = write_overlays(loaded(), crops, [1, 0], ["a/b c.png", "../../escape!.jpg"], tmp_path / "explain")
    assert [file.name for file in files] == ["0001-b_c.png", "0002-escape_.png"]
    assert sorted((tmp_path / "explain").iterdir()) == files
    sheets = [np.asarray(Image.open(file).convert("RGB")).astype(int) for file in files]
    # The heat lies over the bright place of the fake one and over the dark place of the real one.
    left, top, cell = 14 + 288 + 12, 46 + 19 + 56, 288 // 8
    for sheet, hot, cold in ((sheets[0], 1, 6), (sheets[1], 6, 1)):
        red, _, blue = sheet[top + hot * cell + cell // 2, left + hot * cell + cell // 2].tolist()
        assert red > blue + 30, "the hottest colour is a pale yellow"
        red, _, blue = sheet[top + cold * cell + cell // 2, left + cold * cell + cell // 2].tolist()
        assert abs(red - blue) < 10, "and no heat leaves the picture grey"


@pytest.mark.parametrize("target", ["predicted", "fake"])
def test_evidence_comes_first(crops, tmp_path, target, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    assert len(write_overlays(loaded(evidence=True), crops, [1, 0], ["a", "b"], tmp_path, target=target)) == 2


def test_a_forced_class_that_evidence_cannot_show(crops, tmp_path):
    with pytest.raises(DeepfakeError, match="speaks for fake only; use gradcam"):
        write_overlays(loaded(evidence=True), crops, [1, 0], ["a", "b"], tmp_path, "evidence", "real")


def test_what_cannot_be_explained_does_not_fail_a_run(crops, tmp_path, caplog, monkeypatch):
    with caplog.at_level(logging.WARNING):
        assert write_overlays(loaded(layers=False), crops, [1, 0], ["a", "b"], tmp_path) == []
        monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
        assert write_overlays(loaded(), crops, [1, 0], ["a", "b"], tmp_path) == []
    assert "shown has neither" in caplog.messages[0]
    assert "deepfake-core[explain]" in caplog.messages[1]
    with pytest.raises(MissingExtra):
        write_overlays(loaded(), crops, [1, 0], ["a", "b"], tmp_path, "gradcam")
    with pytest.raises(DeepfakeError, match="unknown explainer 'gradcm'"):
        write_overlays(loaded(), crops, [1, 0], ["a", "b"], tmp_path, "gradcm")

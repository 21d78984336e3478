"""Weights of others: read from the Hub's cache or a folder, and refused where they are not what they should be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from deepfake_core import load
from deepfake_core.errors import ArtifactCorrupt, WeightsUnavailable
from deepfake_core.testing import draw_face
from deepfake_siglip.plugin import REPOSITORY

pytestmark = pytest.mark.torch

COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "train" / "stylegan_ffhq"
SHAPE = {
    "image_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
CROPS = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def pictures():
    if not DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{DATA} is missing")
        pytest.skip("needs real pictures of faces")
    return [sorted((DATA / kind).iterdir())[0] for kind in ("real", "fake")]


def theirs(folder, paths, processor):
    """Both classes' logits as the Transformers library computes them, float32 [N, 2]."""
    from transformers.models.siglip.modeling_siglip import SiglipForImageClassification

    model = SiglipForImageClassification.from_pretrained(folder).eval()
    inputs = processor(images=[Image.open(path).convert("RGB") for path in paths], return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).logits.numpy()


def test_the_documented_checkpoint_comes_from_the_cache(published, cached):  # 000-4
    snapshot = cached(REPOSITORY, published)
    detector = load("siglip", device="cpu")
    manifest = detector.manifest
    assert (manifest.weights, manifest.version, manifest.license) == ("pretrained", COMMIT[:12], "apache-2.0")
    assert [(source.name, source.terms) for source in manifest.provenance] == [(REPOSITORY, "apache-2.0")]
    assert manifest.files["safetensors"].size_bytes == (snapshot / "model.safetensors").stat().st_size
    assert manifest.preprocess.size == (64, 64)
    assert manifest.preprocess.crop.kind == "whole_image"
    assert detector.repository.folder == snapshot
    assert detector.repository.cached
    again = load(**detector.origin, device="cpu")
    np.testing.assert_array_equal(again.score(CROPS).logit, detector.score(CROPS).logit)


def test_answers_are_those_of_transformers_on_real_pictures(published, pictures):  # 000-5, 7
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.siglip.image_processing_siglip import SiglipImageProcessor

    detector = load("siglip", weights=published, device="cpu")
    results = detector.predict(pictures, evidence=True)
    found = np.stack([result.faces[0].extra["logits"] for result in results])
    expected = theirs(published, pictures, SiglipImageProcessorPil.from_pretrained(published))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(
        [result.faces[0].logit for result in results], expected[:, 0] - expected[:, 1], atol=1e-4
    )
    # The library's other processor resizes by torchvision, which rounds some pixels to the next level.
    resized = SiglipImageProcessor.from_pretrained(published)
    np.testing.assert_allclose(found, theirs(published, pictures, resized), atol=0.02)
    assert {result.verdict for result in results} <= {"fake", "real"}


def test_swapped_labels_turn_the_score_around(repository, edit):
    before = load("siglip", weights=repository, device="cpu").score(CROPS)
    edit("config.json", id2label={"0": "Real", "1": "Deepfake"})
    after = load("siglip", weights=repository, device="cpu")
    assert (after.detector.config.labels.real, after.detector.config.labels.fake) == (0, 1)
    np.testing.assert_allclose(after.score(CROPS).logit, -before.logit, atol=1e-6)
    np.testing.assert_allclose(after.score(CROPS).extra["logits"], before.extra["logits"][:, ::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("file", "settings", "message"),
    [
        ("config.json", {"id2label": {"0": "fake", "1": "real", "2": "unknown"}}, "'unknown' .* neither real nor fake"),
        ("config.json", {"id2label": {"0": "fake", "1": "real", "2": "Real"}}, "one real and one fake label"),
        ("config.json", {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "'LABEL_0' .* neither real nor fake"),
        ("config.json", {"id2label": {"0": "fake", "1": "Fake"}}, "one real and one fake label"),
        ("config.json", {"id2label": {"1": "fake", "2": "real"}}, "labels must be 0 and 1"),
        ("config.json", {"id2label": None}, "no id2label"),
        ("config.json", {"architectures": ["ViTForImageClassification"]}, "ViTForImageClassification, expected Siglip"),
        ("config.json", {"architectures": None, "model_type": "vit"}, "model type 'vit'"),
        ("config.json", {"vision_config": {**SHAPE, "hidden_size": 48}}, "do not fit Siglip: .*size mismatch"),
        ("config.json", {"vision_config": {**SHAPE, "num_hidden_layers": 3}}, "do not fit Siglip: .*Missing key"),
        ("config.json", {"vision_config": {"image_size": 60}}, "image_size 60 is no multiple of patch_size 16"),
        ("config.json", {"vision_config": {"num_channels": 1}}, "for 3 channels"),
        ("config.json", {"vision_config": {"hidden_act": "relu6"}}, "activation"),
        ("preprocessor_config.json", {"size": {"height": 32, "width": 32}}, "resizes to .* config.json says 64"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 64}}, "resizes to"),
        ("preprocessor_config.json", {"resample": None}, "resample is None"),
        ("preprocessor_config.json", {"rescale_factor": 1.0}, "rescale_factor is 1.0, expected 1/255"),
        ("preprocessor_config.json", {"do_resize": False}, "do_resize is False"),
        ("preprocessor_config.json", {"do_center_crop": True}, "do_center_crop is not offered"),
        ("preprocessor_config.json", {"image_mean": None}, "image_mean is missing"),
        ("preprocessor_config.json", {"image_std": [0, 0, 0]}, "std must be positive"),
    ],
)
def test_what_does_not_fit_is_refused_and_never_guessed(repository, edit, file, settings, message):
    edit(file, **settings)
    with pytest.raises(ArtifactCorrupt, match=message) as caught:
        load("siglip", weights=repository, device="cpu")
    assert str(repository) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pictures_that_are_not_normalised(repository, edit):
    edit("preprocessor_config.json", do_normalize=False, image_mean=None, image_std=None)
    normalize = load("siglip", weights=repository, device="cpu").manifest.preprocess.normalize
    assert (normalize.mean, normalize.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_missing_file_is_named_with_what_helps(repository, cached, file):
    (repository / file).unlink()
    cached(REPOSITORY, repository)
    with pytest.raises(WeightsUnavailable) as caught:
        load("siglip", device="cpu")
    message = str(caught.value)
    assert all(part in message for part in (REPOSITORY, file, "HF_HUB_OFFLINE=1", "--download", "--weights PATH"))


def test_damaged_weights(repository):
    weights = repository / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-100], b"\xff" * 64, b""):
        weights.write_bytes(damaged)
        with pytest.raises(ArtifactCorrupt, match=r"model\.safetensors: damaged .*complete the folder"):
            load("siglip", weights=repository, device="cpu")


def test_weights_of_another_network(repository):
    weights = repository / "model.safetensors"
    state = load_file(weights)
    del state["classifier.bias"]
    save_file({**state, "pooler.weight": torch.zeros(1)}, weights)
    with pytest.raises(ArtifactCorrupt, match=r'do not fit Siglip: .*Missing key.*"classifier\.bias".*pooler\.weight'):
        load("siglip", weights=repository, device="cpu")


def test_only_pickled_weights(repository):
    (repository / "model.safetensors").rename(repository / "pytorch_model.bin")
    with pytest.raises(WeightsUnavailable, match=r"pytorch_model\.bin .* never opened: convert them"):
        load("siglip", weights=repository, device="cpu")


def test_weights_in_several_files_and_in_half_precision(published, repository):
    state = load_file(repository / "model.safetensors")
    (repository / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for part, own in parts.items():
        save_file({name: state[name].half() for name in own}, repository / part)
    table = {name: part for part, own in parts.items() for name in own}
    (repository / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    whole, split = (load("siglip", weights=folder, device="cpu") for folder in (published, repository))
    np.testing.assert_allclose(split.score(CROPS).logit, whole.score(CROPS).logit, atol=0.01)
    assert next(split.network.parameters()).dtype == torch.float32
    assert len(split.artifacts) == 2


def test_onnx_runtime_gets_an_export(published, tmp_path):
    with pytest.raises(WeightsUnavailable, match=r"export it: dfbench export siglip --weights"):
        load("siglip", weights=published, backend="onnxruntime")


def test_the_command_line_is_offline_and_says_so(tmp_path):
    Image.fromarray(draw_face(0)).save(tmp_path / "face.png")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = [sys.executable, "-m", "deepfake_bench", "predict", str(tmp_path / "face.png"), "--detector", "siglip"]
    done = subprocess.run([*command, "--download"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith(f"dfbench: siglip: {REPOSITORY} ")
    assert done.stderr.count("\n") == 1
    for part in ("HF_HUB_OFFLINE=1", f"hf download {REPOSITORY}", "--weights PATH", "untrained=True"):
        assert part in done.stderr


def test_the_model_is_loaded_once_and_kept(published, monkeypatch):  # 000-10
    from deepfake_core.contract.repository import Repository

    opened = []
    tensors = Repository.tensors
    monkeypatch.setattr(Repository, "tensors", lambda self: opened.append(self) or tensors(self))
    detector = load("siglip", weights=published, device="cpu")
    first, second = detector.predict(draw_face(0)), detector.predict(draw_face(0))
    assert first.p_fake == second.p_fake
    assert len(opened) == 1


def test_the_device_is_the_gpu_where_there_is_one(published, monkeypatch):  # 000-3
    from deepfake_core.runtimes.torch import torch_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("deepfake_core.runtimes.torch._cuda_failure", lambda: "")
    assert torch_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load("siglip", weights=published).runtime.device == "cpu"

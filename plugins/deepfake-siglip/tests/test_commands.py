"""The command line: one picture scored, and the account of the time."""

import json
import math
from pathlib import Path

import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_core.testing import draw_face
from deepfake_siglip.plugin import REPOSITORY

pytestmark = pytest.mark.torch


def invoke(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "face.png"
    Image.fromarray(draw_face(0)).save(path)
    return path


@pytest.fixture
def constant(repository) -> Path:
    """A classifier that answers every picture with the logits of the documented run."""
    state = load_file(repository / "model.safetensors")
    state["classifier.weight"].zero_()
    state["classifier.bias"] = torch.tensor([0.8502, 0.8645])
    save_file(state, repository / "model.safetensors")
    return repository


def test_the_documented_run(picture, constant):  # 000-1, 000-6, 000-8
    done = invoke("predict", picture, "--detector", "siglip", "--weights", constant, "--device", "cpu", "--timings")
    heading, row = done.stderr.splitlines()[-2:]
    titles = ["size", "mode", "logit", "logits fake, real", "softmax fake, real", "P(fake)", "label", "confidence"]
    assert [heading.index(title) for title in titles] == sorted(heading.index(title) for title in titles)
    height, width = draw_face(0).shape[:2]
    expected = [f"{width}×{height}", "RGB", "-0.0143", "0.8502, 0.8645", "49.64%, 50.36%", "49.64%", "real", "50.36%"]
    places = [row.index(value) for value in expected]
    assert places[0] >= row.index("face.png")
    assert places[:5] == sorted(places[:5])
    assert row.split()[-4:-1] == ["49.64%", "real", "50.36%"]
    (line,) = invoke(
        "predict", picture, "--detector", "siglip", "--weights", constant, "--format", "jsonl"
    ).stdout.splitlines()
    result = json.loads(line)
    assert result["verdict"] == "real"
    assert result["p_fake"] == pytest.approx(0.496425, abs=1e-6)
    assert (result["width"], result["height"], result["mode"]) == (width, height, "RGB")


def test_the_account_of_a_run(picture, published, cached):  # 000-2, 000-4
    snapshot = cached(REPOSITORY, published)
    done = invoke("predict", picture, "--detector", "siglip", "--device", "cpu", "--timings")
    lines = done.stderr.splitlines()
    assert "device  cpu (torch)" in lines
    (cache,) = (line for line in lines if line.startswith("cache   /"))
    assert str(snapshot) in cache
    assert f"models--{REPOSITORY.replace('/', '--')}" in cache
    assert cache.endswith("was there already)")
    rows = [line.rsplit(maxsplit=2) for line in lines if line.endswith("%")]
    stages = {stage: (float(seconds), share) for stage, seconds, share in rows}
    documented = ["device", "cache", "load", "transfer", "image load", "preprocess", "inference", "results"]
    assert set(documented) <= set(stages)
    assert stages["total"][1] == "100.0%"
    parts = [seconds for stage, (seconds, _) in stages.items() if stage != "total"]
    assert sum(parts) == pytest.approx(stages["total"][0], abs=2e-3)
    assert all(stages[stage][0] > 0 for stage in ("load", "inference"))


@pytest.mark.onnxruntime
def test_published_weights_are_exported_and_judge_alike(picture, published, tmp_path):
    invoke("export", "siglip", "--weights", published, "--out", tmp_path / "model.onnx")
    scores = [
        json.loads(invoke("predict", picture, "--detector", *detector, "--format", "jsonl").stdout)
        for detector in (("siglip", "--weights", published), (tmp_path / "model.onnx",))
    ]
    assert scores[0]["p_fake"] == pytest.approx(scores[1]["p_fake"], abs=1e-4)
    assert scores[1]["weights"] == "pretrained"
    assert scores[0]["detector"] == scores[1]["detector"]
    assert str(tmp_path).encode() not in (tmp_path / "model.onnx").read_bytes()
    proto = onnx.load(tmp_path / "model.onnx")
    assert [output.name for output in proto.graph.output] == ["logit", "logits"]
    # The unused pooling head stays behind. Biases that are all zero, as a new network's are, are stored once.
    stored = sum(math.prod(tensor.dims) for tensor in proto.graph.initializer)
    state = load_file(published / "model.safetensors")
    sizes = {name: value.numel() for name, value in state.items()}
    used = sum(size for name, size in sizes.items() if not name.startswith("vision_model.head."))
    assert 0.95 * used < stored <= used + 50 < sum(sizes.values())

"""From data to a small file: the documented recipe on a CPU, and int8 that keeps its bound."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import deepfake_core
from deepfake_bench.cli import app
from deepfake_core.data.manifest import manifest_hash
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.discovery.plugins import detector_spec
from deepfake_core.testing import write_drawn_dataset

pytestmark = pytest.mark.torch

SMALL = ("--set", "config.widths=[8,16]", "--set", "config.image_size=64")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unet")
    write_drawn_dataset(folder / "data")
    short = ("phases.0.epochs=1", "batch_size=6", "pairs.autoencoder_steps=2", "pretrained=false", "workers=0")
    command = ["train", "unet", "--data", folder / "data", "--run-dir", folder / "run", "--recipe", "mixed-precision"]
    command += [*SMALL, *(word for change in short for word in ("--set", change)), "--explain", "1"]
    done = CliRunner().invoke(app, [str(word) for word in command])
    assert done.exit_code == 0, done.output
    return folder


def test_it_trains_on_a_cpu_and_says_so(trained):  # 002-3, 002-4, 002-13
    log = (trained / "run" / "run.log").read_text()
    assert "training on cpu" in log
    assert "face swappers:" in log
    assert "epoch=1" in log
    manifest = json.loads((trained / "run" / "model" / "manifest.json").read_text())
    assert manifest["weights"] == "trained"
    assert manifest["training"]["precision"] == "auto"
    assert manifest["calibration"]["fitted_on_sha256"] == [manifest_hash(open_dataset(trained / "data"))]
    assert [output["name"] for output in manifest["outputs"]] == ["logit", "evidence", "perturbation"]


def test_int8_weights_keep_the_bound_and_the_perturbation(trained):  # 002-1, 002-11
    network = deepfake_core.load(trained / "run" / "model", backend="torch", device="cpu")
    faces = np.concatenate([network.prepare(draw_face(seed)).crops for seed in range(8)])
    out = network.export("onnx", "int8-weights", out=trained / "int8.onnx", calibration_images=faces)
    models = network, deepfake_core.load(out, device="cpu")
    plain, small = (model.score(faces).extra["perturbation"] for model in models)
    assert np.abs(small).max() <= 0.03
    assert np.corrcoef(plain.ravel(), small.ravel())[0, 1] > 0.99
    image = models[1].protect(trained / "data" / "real" / "0.png")
    assert image.info["protection"]["psnr_db"] > 30


def test_shipped_file_is_small():  # 002-11
    loaded = deepfake_core.load("unet", device="cpu")
    (file,) = (reference for name, reference in loaded.manifest.files.items() if name == "onnx")
    assert file.size_bytes < 8_000_000
    assert loaded.manifest.weights == "trained"
    assert detector_spec("unet").weights

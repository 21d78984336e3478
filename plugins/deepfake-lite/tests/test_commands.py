"""The whole way from the command line: refine the shipped model, export it, judge with what came out."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_core.testing import draw_face, write_drawn_dataset

pytestmark = pytest.mark.torch


def invoke(*arguments) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_refine_export_and_judge(tmp_path):
    write_drawn_dataset(tmp_path / "data")
    (tmp_path / "sources.toml").write_text('[[source]]\nname = "data"\nwhat = "drawn faces"\nterms = "public domain"\n')
    training = ("--data", tmp_path / "data", "--run-dir", tmp_path / "run", "--sources", tmp_path / "sources.toml")
    invoke("train", "lite", *training, "--recipe", "smoke", "--start", "lite", "--device", "cpu")
    invoke("export", tmp_path / "run", "--precision", "fp16-storage", "--out", tmp_path / "model")

    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["weights"] == "trained"
    assert manifest["training"]["start"], "the settings of the first run are lost"
    assert {source["terms"] for source in manifest["provenance"]} == {"public domain"}
    assert set(manifest["files"]) == {"onnx", "safetensors"}

    Image.fromarray(draw_face(1)).save(tmp_path / "face.png")
    scores = [
        json.loads(
            invoke("predict", tmp_path / "face.png", "--detector", f"{tmp_path}/model", *backend, "--format", "jsonl")
        )
        for backend in ((), ("--backend", "torch"))
    ]
    assert scores[0]["p_fake"] == pytest.approx(scores[1]["p_fake"], abs=0.02)
    assert scores[0]["weights"] == "trained"

"""The whole way from the command line: train in two phases, test, explain, judge."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.testing import write_drawn_dataset

pytestmark = pytest.mark.torch

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "train" / "stylegan_ffhq"
SMALL = ("--set", "config.backbone=cvt-test", "--set", "config.image_size=64", "--device", "cpu")


def invoke(*arguments, status=0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == status, done.output
    return done.output if status else done.stdout


def test_one_command_trains_tests_and_explains(tmp_path):  # 001-7, 001-9, 001-10, 001-11, 001-13, 001-14, 001-21
    for split, start in (("train", 0), ("test", 100)):
        write_drawn_dataset(tmp_path / split, 8)
        for file in (tmp_path / split / "real").iterdir():
            Image.fromarray(draw_face(start + int(file.stem))).save(file)
    run = tmp_path / "run"
    data = ("--data", tmp_path / "train", "--test", tmp_path / "test", "--run-dir", run)
    settings = ("--recipe", "two-phase-1+1", "--set", "pretrained=false", "--set", "workers=0", "--explain", "2")
    invoke("train", "cvt", *data, *settings, *SMALL)

    with (run / "metrics_log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [1, 2]
    log = (run / "run.log").read_text()
    assert "phase head" in log
    assert "phase fine-tune" in log
    assert {"auc", "accuracy"} <= set(json.loads((run / "metrics_test.json").read_text()))
    sheets = sorted((run / "explain").iterdir())
    assert len(sheets) == 2
    for sheet in sheets:
        with Image.open(sheet) as picture:
            assert picture.size == (688, 481)

    face = tmp_path / "face.png"
    Image.fromarray(draw_face(3)).save(face)
    invoke("explain", face, "--detector", f"{run}/model", "--target", "real", "--out", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["0001-face-gradcam-real.png"]
    judged = json.loads(invoke("predict", face, "--detector", f"{run}/model", "--format", "jsonl").splitlines()[-1])
    assert judged["weights"] == "trained"


def test_weights_that_cannot_be_had_say_what_to_do(tmp_path, monkeypatch):  # 001-1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", str(True))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    write_drawn_dataset(tmp_path / "data")
    settings = ("--set", "config.image_size=64", "--set", "workers=0", "--device", "cpu")
    output = invoke("train", "cvt", "--data", tmp_path / "data", "--run-dir", tmp_path / "run", *settings, status=2)
    assert "microsoft/cvt-13" in output
    assert "pretrained=false" in output


def test_real_pictures(tmp_path):  # 001-8
    if not DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{DATA} is missing")
        pytest.skip("needs real pictures of faces")
    for kind in ("real", "fake"):
        folder = tmp_path / "data" / kind
        folder.mkdir(parents=True)
        for path in sorted((DATA / kind).iterdir())[:16]:
            shutil.copy(path, folder)
    run = tmp_path / "run"
    invoke("train", "cvt", "--data", tmp_path / "data", "--run-dir", run, "--smoke-run", *SMALL)
    recorded = (run / "config.yaml").read_text()
    assert "backbone: cvt-test" in recorded
    picture = next((DATA / "fake").iterdir())
    judged = json.loads(invoke("predict", picture, "--detector", f"{run}/model", "--format", "jsonl"))
    assert judged["verdict"] in {"fake", "real", "unsure"}

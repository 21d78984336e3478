"""Whole runs on real pictures, from the command line: killed, resumed, tested, explained."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deepfake_bench.cli import app

pytestmark = pytest.mark.torch

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "train" / "stylegan_ffhq"

SMALL = ["--set", "config.image_size=64", "--set", "workers=0", "--set", "save_every=1", "--device", "cpu"]
RECIPES = {
    # 001-8, 13, 14: head on a frozen backbone, then everything with a slow backbone and a warm cosine
    "two-phase": ["--recipe", "two-phase"],
    # 004-6, 8: AdamW, one cycle, accumulation, label smoothing
    "one-cycle": ["--recipe", "one-cycle"],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    if not DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{DATA} is missing")
        pytest.skip("needs real pictures of faces")
    root = tmp_path_factory.mktemp("pictures")
    for split, start, count in (("train", 0, 20), ("test", 20, 6)):
        for kind in ("real", "fake"):
            folder = root / split / "stylegan" / kind
            folder.mkdir(parents=True)
            for path in sorted((DATA / kind).iterdir())[start : start + count]:
                shutil.copy(path, folder)
    return root


def dfbench(*arguments, kill_when=None):
    process = subprocess.Popen(
        [sys.executable, "-m", "deepfake_bench", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if kill_when is not None:
        deadline = time.monotonic() + 200
        while not kill_when() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def train(run, pictures, *arguments, **options):
    data = ["--data", pictures / "train", "--test", pictures / "test", "--run-dir", run, "--smoke-run"]
    return dfbench("train", "lite", *data, *SMALL, *arguments, **options)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_killed_and_resumed_leaves_everything_behind(tmp_path, pictures, name):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    status, output = train(whole, pictures, *RECIPES[name])
    assert status == 0, output
    assert "label_smoothing:" in output  # the recipe is printed in full at the start
    status, _ = train(cut, pictures, *RECIPES[name], kill_when=(cut / "last.pt").exists)
    assert status == -signal.SIGKILL
    status, output = dfbench("train", "lite", "--run-dir", cut, "--resume", "--device", "cpu")  # 003-13
    assert status == 0, output
    assert "going on after step" in output
    for file in ("best.safetensors", "metrics_log.csv"):
        assert (whole / file).read_bytes() == (cut / file).read_bytes(), f"{file} differs from the uninterrupted run's"

    # 001-17, 19, 20, 22: what a run leaves behind
    for file in ("last.pt", "config.yaml", "run.log", "git.json", "requirements.txt", "data.json", "system.json"):
        assert (cut / file).stat().st_size, file
    assert "torch==" in (cut / "requirements.txt").read_text()
    log = (cut / "run.log").read_text()
    assert "resumed" in log
    assert "first 10 pictures" in log
    assert list((cut / "tensorboard").glob("events*"))
    settings = yaml.safe_load((cut / "config.yaml").read_text())
    assert settings["detector"] == "lite"
    assert settings["config"]["image_size"] == 64
    # 001-11, 21: overlays with the probability
    assert len(list((cut / "explain").glob("*.png"))) == 2
    # 001-7, 10, 003-12, 004-8: one command also tests, once, after selection, and explains
    test = json.loads((cut / "metrics_test.json").read_text())
    with (cut / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    assert test["count"] + test["no_face"] + test["error"] == 12
    # 004-9
    metrics = json.loads((cut / "metrics.json").read_text())
    assert set(metrics["history"]) == {"train_loss", "val_auc", "val_acc"}
    assert len(metrics["history"]["val_auc"]) >= 2
    assert metrics["best_val_auc"] is not None
    assert set(metrics["test_metrics"]) == {"auc", "accuracy"}
    assert metrics["timestamp"]
    # 001-15, 16: the record of all runs, and the best of them
    record = json.loads((tmp_path / "model_metadata.json").read_text())
    assert {"whole", "cut"} <= set(record["runs"])
    assert list((tmp_path / "best").rglob("manifest.json"))


def test_a_finished_run_is_not_tested_again(tmp_path, pictures):  # 001-10
    run = tmp_path / "run"
    short = ["--set", "batch_size=4", "--set", "phases.0.epochs=1", "--set", "phases.1.epochs=1"]
    status, output = train(run, pictures, "--recipe", "two-phase", *short)
    assert status == 0, output
    (run / "metrics_test.json").write_text('{"auc": 0.123, "accuracy": 0.456}')
    status, output = dfbench("train", "lite", "--run-dir", run, "--resume", "--device", "cpu")
    assert status == 0, output
    assert "metrics_test.json is kept" in output
    assert json.loads((run / "metrics.json").read_text())["test_metrics"] == {"auc": 0.123, "accuracy": 0.456}


def test_overfitting_a_few_samples(tmp_path, pictures):  # 003-18
    run = tmp_path / "run"
    steps = ["--set", "phases.0.steps=40", "--set", "phases.0.epochs=null", "--set", "eval_every=40"]
    data = ["--data", pictures / "train", "--run-dir", run, "--overfit", "8", "--explain", "0"]
    rest = [*SMALL, *steps, "--recipe", "mixed-precision", "--set", "pretrained=false", "--set", "batch_size=8"]
    status, output = dfbench("train", "lite", *data, *rest)
    assert status == 0, output
    with (run / "metrics_log.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["auc"]) == 1.0, "the network cannot learn eight pictures by heart"


def test_a_refused_run_says_why(tmp_path, pictures):
    def refused(data, *arguments):
        command = ["train", "lite", "--data", data, "--run-dir", tmp_path / "run", "--smoke-run", *SMALL, *arguments]
        done = CliRunner().invoke(app, [str(argument) for argument in command])
        assert done.exit_code == 2
        return " ".join(done.output.split())

    shutil.copytree(pictures / "train" / "stylegan" / "real", tmp_path / "one" / "real")
    said = refused(tmp_path / "one", "--recipe", "two-phase")
    assert "holds no fake pictures to train on; training needs both classes" in said
    assert "lr must be positive" in refused(pictures / "train", "--set", "phases.0.lr={}")

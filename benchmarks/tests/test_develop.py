"""``dfbench train`` and ``dfbench export`` hand the detector's own verbs what the user asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.jobs import PLUMBING
from deepfake_core import loading
from deepfake_core.training.recipe import PseudoFakes, TrainRecipe


class Stub:
    """Stands for a loaded detector and remembers what was asked of it."""

    manifest = SimpleNamespace(name="stub", version="7")
    detector = SimpleNamespace(recipes={"default": TrainRecipe(), "smoke": TrainRecipe(steps=2)})

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def train(self, data, **options):
        self.asked = {"data": data, **options}
        return self

    def export(self, format, precision, *, out, **options):
        self.asked = {"format": format, "precision": precision, **options}
        return out

    def stream(self, paths, keep_crops):
        assert keep_crops
        face = SimpleNamespace(crop=np.zeros((8, 8, 3), np.uint8))
        return (SimpleNamespace(faces=() if "00" in Path(path).name else (face,)) for path in paths)


@pytest.fixture
def stub(monkeypatch):
    loaded = Stub()

    def load(name, **options):
        loaded.loaded = (name, options)
        return loaded

    monkeypatch.setattr(loading, "load", load)
    return loaded


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_train_changes_single_settings_of_a_recipe(stub, tmp_path):
    run = ("train", "stub", "--data", tmp_path, "--run-dir", tmp_path / "run", "--recipe", "smoke")
    done = invoke(*run, "--set", "lr=0.01", "--set", "pseudo.labelled=0", "--set", "precision=bf16")
    assert done.exit_code == 0, done.output
    assert stub.loaded == ("stub", {"untrained": True})
    expected = TrainRecipe(steps=2, lr=0.01, precision="bf16", pseudo=PseudoFakes(labelled=0))
    assert stub.asked["recipe"] == expected
    assert stub.asked["run_dir"] == tmp_path / "run"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--recipe", "slow"), "default, smoke"),
        (("--set", "stesp=3"), "stesp=3"),
        (("--set", "steps"), "steps"),
        (("--set", "steps=-3"), "greater than 0"),
        (("--set", "pseudo.nothing=3"), "pseudo.nothing"),
        (("--set", "lr.x=3"), "lr.x"),
    ],
)
def test_a_wrong_setting_is_named(stub, tmp_path, options, words):
    done = invoke("train", "stub", "--data", tmp_path, "--run-dir", tmp_path / "run", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not stub.asked


def test_a_run_is_never_overwritten_by_accident(stub, tmp_path):
    (tmp_path / "last.pt").touch()
    run = ("train", "stub", "--data", tmp_path, "--run-dir", tmp_path)
    refused = invoke(*run)
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    assert invoke(*run, "--resume").exit_code == 0


def test_export_takes_a_run_and_labelled_crops(stub, tmp_path):
    (tmp_path / "model").mkdir()
    done = invoke("export", tmp_path, "--out", tmp_path / "m.onnx", "--precision", "int8", "--data", PLUMBING.path)
    assert done.exit_code == 0, done.output
    assert stub.loaded == (str(tmp_path / "model"), {"backend": "torch"})
    assert stub.asked["precision"] == "int8"
    assert stub.asked["calibration_images"].shape == (22, 8, 8, 3)  # two of 24 showed no face
    assert stub.asked["labels"].tolist() == [1] * 11 + [0] * 11

"""``dfbench tune`` hands the search what the user asked for, and says what to do with what it found."""

from __future__ import annotations

import shlex
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_core.contract.detector import DetectorConfig
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.loading import load as loading
from deepfake_core.training.recipes.changes import changed
from deepfake_core.training.recipes.presets import PRESETS
from deepfake_core.training.recipes.resolve import resolve_recipe

pytest.importorskip("optuna")


class StubConfig(DetectorConfig):
    width: int = 4
    depth: int = 1


class Stub:
    """A detector whose validations are better the larger its batch and its width."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, config: StubConfig) -> None:
        self.manifest = SimpleNamespace(architecture="stub")
        self.detector = SimpleNamespace(
            recipes={"default": TrainRecipe()}, configs={}, config=config, Config=StubConfig
        )

    def train(self, data, *, recipe, on_validation, **options):
        self.asked.append({"data": data, "recipe": recipe, "width": self.detector.config.width, **options})
        for step in (1, 2):
            on_validation(step, {"auc": recipe.batch_size / 64 + self.detector.config.width / 100 + step / 1000})


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr("deepfake_core.datasets.opening.open_dataset", lambda address: address)
    monkeypatch.setattr("deepfake_core.training.checks.check_installed", lambda *_all: None)
    monkeypatch.setattr(Stub, "asked", [])
    monkeypatch.setattr(loading, "load", lambda name, untrained, config=None: Stub(StubConfig(**(config or {}))))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return Stub.asked


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_search_ends_with_the_command_that_trains_its_best(asked, tmp_path):
    command = ("tune", "stub", "--data", "csv:a file.csv", "--valid", "csv:b.csv", "--recipe", "two-phase")
    command += ("--set", "config.depth=2")
    spaces = ("--space", "batch_size=choice:8,16", "--space", "config.width=int:1..8")
    done = invoke(*command, *spaces, "--trials", 5, "--run-dir", tmp_path, "--device", "cpu", "--set", "seed=7")
    assert done.exit_code == 0, done.output
    assert len(asked) == 5
    assert {run["valid"] for run in asked} == {"csv:b.csv"}  # 001-25
    assert {run["cache_dir"] for run in asked} == {tmp_path / "cache"}, "faces are prepared once"
    assert {run["recipe"].seed for run in asked} == {7}
    assert {run["test"] for run in asked} == {False}, "a search sees no test data, the dataset's own neither"
    last = shlex.split(done.stdout.splitlines()[-1])
    assert last[:5] == ["dfbench", "train", "stub", "--data", "csv:a file.csv"]
    assert last[5:9] == ["--valid", "csv:b.csv", "--recipe", str(tmp_path / "best.yaml")]
    best = max(asked, key=lambda run: run["recipe"].batch_size / 64 + run["width"] / 100)
    assert last[9:] == ["--set", "config.depth=2", "--set", f"config.width={best['width']}"]
    detector: Any = SimpleNamespace(recipes={}, configs={})
    expected = changed(PRESETS["two-phase"], ["seed=7", f"batch_size={best['recipe'].batch_size}"])
    assert resolve_recipe(detector, tmp_path / "best.yaml") == expected
    # Started again, it has nothing left to do; with more trials, it goes on.
    assert invoke(*command, *spaces, "--trials", 5, "--run-dir", tmp_path, "--set", "seed=7").exit_code == 0
    assert len(asked) == 5
    assert invoke(*command, *spaces, "--trials", 6, "--run-dir", tmp_path, "--set", "seed=7").exit_code == 0
    assert len(asked) == 6


def test_a_search_starts_from_a_trained_model(asked, tmp_path, monkeypatch):
    begun = SimpleNamespace(manifest=SimpleNamespace(name="stub", version="1"))
    command_module = import_module("deepfake_bench.cli.train.tune")
    monkeypatch.setattr(command_module, "trained_model", {"runs/mine": begun}.get)
    command = ("tune", "stub", "--data", "a", "--space", "batch_size=choice:8,16", "--trials", 1, "--run-dir", tmp_path)
    done = invoke(*command, "--start", "runs/mine", "--allow-seen")
    assert done.exit_code == 0, done.output
    assert [(run["start"], run["allow_seen"]) for run in asked] == [(begun, True)]
    assert shlex.split(done.stdout.splitlines()[-1])[-3:] == ["--start", "runs/mine", "--allow-seen"]
    other = invoke(*command)
    assert other.exit_code == 2, "trials from other weights are no trials of this search"


def test_the_study_may_be_anywhere_that_is_a_file(asked, tmp_path):
    command = ("tune", "stub", "--data", "a", "--space", "batch_size=choice:8,16", "--trials", 1, "--run-dir", tmp_path)
    assert invoke(*command, "--study", f"sqlite:///{tmp_path / 'a.db'}").exit_code == 0
    assert invoke(*command, "--study", tmp_path / "b" / "c.db").exit_code == 0
    assert (tmp_path / "a.db").exists()
    assert (tmp_path / "b" / "c.db").exists()
    refused = invoke(*command, "--study", "postgresql://host/name")
    assert refused.exit_code == 2
    assert "SQLite" in refused.stderr


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("lr=log:1e-4..1e-1", "unknown setting lr"),
        ("config.layers=int:1..3", "unknown setting layers; there are: width, depth"),
        ("seed=int:1..3", "the same for all"),
        ("batch_size", "is not KEY=log"),
    ],
)
def test_a_wrong_space_is_named_before_anything_is_trained(asked, tmp_path, space, words):
    done = invoke("tune", "stub", "--data", "a", "--space", space, "--run-dir", tmp_path)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not asked


def test_a_search_runs_in_one_process(asked, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = invoke("tune", "stub", "--data", "a", "--space", "seed=int:1..3", "--run-dir", tmp_path)
    assert done.exit_code == 2
    assert "one process" in done.stderr


def test_the_folder_is_the_same_the_next_time(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke("tune", "stub", "--data", "a", "--space", "batch_size=choice:8,16", "--trials", 1)
    assert done.exit_code == 0, done.output
    assert Path("runs/tune-stub-default/study.db").exists()

"""``dfbench leave-one-out`` hands on what the user asked for, and shows, compares and writes what there is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from left_out_results import write_results
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_core.contract.detector import DetectorConfig
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.loading import load as loading
from deepfake_core.training.leave_out import figures
from deepfake_core.training.leave_out.results import Skipped, read_results, write


def invoke(*arguments):
    return CliRunner().invoke(app, ["leave-one-out", *map(str, arguments)])


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(figures, "DRAWS", 50)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def test_what_a_folder_holds_is_shown_compared_and_written(tmp_path):
    write_results(tmp_path / "before", 0.5)
    found = write_results(tmp_path / "after", 2.0)
    file = tmp_path / "found.json"
    done = invoke("--run-dir", tmp_path / "after", "--versus", tmp_path / "before", "--json", file)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines() if line]
    assert [line[0] for line in lines[1:3]] == [row.source for row in found.sources[:2]], "the worst first"
    assert lines[3] == ["mean", "of", "2", f"{found.means['auc'].mean:.3f}", *lines[3][4:]]
    assert "(1) it has no real faces" in done.stdout
    assert [line[-1] for line in lines if line[:4] == ["mean", "of", "2", "AUC"]] == ["better"]
    content = json.loads(file.read_text())
    assert content.pop("versus")["changes"][0]["measure"] == "auc"
    assert content == found.to_dict()
    worse = invoke("--run-dir", tmp_path / "before", "--versus", tmp_path / "after")
    assert worse.exit_code == 1


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (("--bound-auc", 0.99), "the mean AUC of 2 sources is "),
        (("--bound-false-fake", 0.0), " of the real faces of "),
        (("--bound-auc", 0.5, "--bound-false-fake", 0.9), ""),
    ],
)
def test_a_bound_decides_the_status(tmp_path, bounds, said):
    write_results(tmp_path, 1.0)
    done = invoke("--run-dir", tmp_path, *bounds)
    assert done.exit_code == bool(said), done.output
    assert said in done.stderr


def test_a_source_that_was_not_left_out_is_named(tmp_path):
    found = write_results(tmp_path, 1.0)
    skipped = [Skipped(source="alone", reason="no fakes are left to train on")]
    write(found.with_results(found.sources, skipped, ["later"]), tmp_path / "leave_one_out.json")
    done = invoke("--run-dir", tmp_path)
    assert done.exit_code == 1
    assert "alone was not left out: no fakes are left to train on" in done.stderr
    assert "not complete yet: later" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a DETECTOR to train, or the folder of results by --run-dir"),
        (("--run-dir", "runs/a", "--steps", 3), "to train, name the detector"),
        (("--run-dir", "nowhere"), "holds no results"),
        (("stub", "--run-dir", "runs/a"), "--data is missing"),
    ],
)
def test_what_is_missing_is_said(arguments, said):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_the_runs_are_as_the_user_asked(tmp_path, monkeypatch):
    asked: dict[str, Any] = {}
    found = write_results(tmp_path / "results", 1.0)
    loaded = SimpleNamespace(
        manifest=SimpleNamespace(architecture="stub"),
        detector=SimpleNamespace(
            recipes={"default": TrainRecipe()}, configs={}, config=DetectorConfig(), Config=DetectorConfig
        ),
    )

    def leave(detector, data, folder, recipe, **options):
        asked.update(data=data, folder=folder, seed=recipe.seed, **options)
        return found

    monkeypatch.setattr(loading, "load", lambda _name, **_options: loaded)
    monkeypatch.setattr("deepfake_core.training.leave_out.runs.leave_one_out", leave)
    done = invoke("stub", "--data", "faces", "--set", "seed=3", "--sources", "a, b", "--minutes", 2, "--faces", 9)
    assert done.exit_code == 0, done.output
    wanted = {"data": "faces", "seed": 3, "sources": ["a", "b"], "minutes": 2.0, "steps": None, "faces": 9}
    assert {name: asked[name] for name in wanted} == wanted
    assert asked["folder"] == Path("runs/leave-one-out-stub-default"), "the same the next time"


def test_results_are_kept_in_the_package_of_the_recipe(tmp_path, monkeypatch):
    taken: list[Any] = []

    def into(found, folder):
        taken.append((found, folder))
        return SimpleNamespace(folder=folder), ("phases.0.steps: 7 → 900",)

    monkeypatch.setattr("deepfake_core.training.leave_out.record.into_package", into)
    write_results(tmp_path / "runs", 1.0)
    done = invoke("--run-dir", tmp_path / "runs", "--into", tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert taken == [(read_results(tmp_path / "runs"), tmp_path / "model")]
    assert "another one: phases.0.steps: 7 → 900" in done.stderr

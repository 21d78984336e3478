"""``dfbench registry build``: exported, verified, measured and pushed by one command."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepfake_bench.cli import app
from deepfake_bench.records.report import Report
from deepfake_core import load
from deepfake_registry.store.opening import open_registry

pytestmark = pytest.mark.torch

RECIPES = Path(__file__).parents[3] / "exports" / "recipes.toml"


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def run(*arguments):
        command = ["registry", "build", *map(str, arguments), "--seconds", "0.05", "--threads", "1"]
        return CliRunner().invoke(app, command)

    return run


def test_every_installed_detector_has_a_recipe():
    from deepfake_exports.recipes import read_recipes

    plugins = {path.name.removeprefix("deepfake-") for path in (RECIPES.parents[1] / "plugins").glob("deepfake-*")}
    assert set(read_recipes(RECIPES)) == plugins


def test_what_was_built_is_measured_before_it_is_pushed(build):
    pytest.importorskip("deepfake_lite")
    pytest.importorskip("deepfake_cvt")
    done = build(RECIPES, "cvt", "lite")
    assert done.exit_code == 1
    assert "cvt: 'cvt' comes without weights here" in done.stderr  # and the other one goes on
    (line,) = done.stdout.splitlines()
    version = load("lite").manifest.version
    assert line == f"lite@{version} onnx fp16-storage: pushed"
    store = open_registry()
    published = store.resolve("lite@candidate")
    (name,) = store.reports(published)
    report = Report.model_validate_json(store.read_report(published, name))
    assert {row.detector for row in report.measurements} == {"lite"}
    assert {row.artefact_sha256 for row in report.measurements} == {published.manifest.files["onnx"].sha256}
    assert {"cold_start", "single_stream", "accuracy"} <= {row.scenario for row in report.measurements}
    assert load("lite@candidate").manifest.version == version
    again = build(RECIPES, "lite")
    assert (again.exit_code, again.stdout) == (0, f"lite@{version} onnx fp16-storage: was there already\n")
    assert len(store.reports(published)) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[lite", "no export recipes"),
        ('[lite]\nformat = "pt2"\nprecision = "int8"', "pt2 in int8 is not offered"),
        ('[lite]\ncolour = "red"', "Extra inputs are not permitted"),
        ("[unet]", "has no recipe for 'lite'; it has unet"),
    ],
)
def test_recipes_that_are_none(build, tmp_path, text, reason):
    (tmp_path / "r.toml").write_text(text)
    done = build(tmp_path / "r.toml", "lite")
    assert done.exit_code == 2
    assert reason in done.stderr

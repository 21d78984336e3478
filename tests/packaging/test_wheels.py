"""The wheels, built and used as a user would: an empty environment, outside of the checkout, without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "DEEPFAKE_PACKAGING_TESTS" not in os.environ,
    reason="builds wheels and fills an environment; run by: tox -e packaging",
)

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "benchmarks" / "deepfake_bench" / "data" / "portrait.jpg"
PLUGINS = sorted(path.name for path in (ROOT / "plugins").glob("deepfake-*"))
SHIPPED = {"lite", "unet"}
"""Detectors that come with their weights."""
HEAVY = ("torch", "transformers", "timm", "torchvision", "onnx", "sklearn")


def run(*command: str | Path, cwd: Path, **options) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, *(ROOT / "plugins" / name for name in PLUGINS)):
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, project, cwd=out)
    assert len(list(out.glob("*.tar.gz"))) == 1 + len(PLUGINS)
    return {path.name.split("-")[0]: path for path in out.glob("*.whl")}


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory) -> Path:
    """The scripts folder of an environment that holds all wheels and what they ask for."""
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "env", with_pip=True)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    run(scripts / "python", "-m", "pip", "install", "--quiet", *wheels.values(), cwd=folder)
    return scripts


def test_the_index_would_accept_them(wheels):
    run(sys.executable, "-m", "twine", "check", "--strict", *wheels.values(), cwd=ROOT)


def test_what_the_wheels_hold(wheels):
    names = {name: set(zipfile.ZipFile(path).namelist()) for name, path in wheels.items()}
    core = names["deepfake_core"]
    for package in ("deepfake_registry", "deepfake_core", "deepfake_exports", "deepfake_bench"):
        assert f"{package}/py.typed" in core
    assert any(name.startswith("deepfake_bench/data/") and name.endswith(".jpg") for name in core)
    assert any(name.endswith("licenses/LICENSE") for name in core)
    assert "deepfake_registry/schema/manifest-v1.json" in core
    for plugin in PLUGINS:
        package = plugin.replace("-", "_")
        assert {f"{package}/plugin.py", f"{package}/py.typed"} <= names[package]
        assert any(name.endswith("entry_points.txt") for name in names[package])
    for name in set().union(*names.values()):
        assert not name.startswith(("tests/", "docs/", "plugins/")), f"{name} does not belong into a wheel"
        assert "/tests/" not in name, f"{name} does not belong into a wheel"


def test_weights_are_small(wheels):  # 002-11
    total = 0.0
    for plugin in PLUGINS:
        package, short = plugin.replace("-", "_"), plugin.removeprefix("deepfake-")
        weights = {
            Path(item.filename).name: item.file_size / 1e6
            for item in zipfile.ZipFile(wheels[package]).infolist()
            if item.filename.startswith(f"{package}/weights/")
        }
        total += sum(weights.values())
        assert bool(weights) == (short in SHIPPED)
        assert not weights or "manifest.json" in weights
        for name, megabytes in weights.items():
            assert megabytes <= (8 if name.endswith(".onnx") else 25), f"{name}: {megabytes:.1f} MB"
    assert total <= 80


def test_the_base_install_is_light(installed, tmp_path):
    listing = run(installed / "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path)
    found = {entry["name"].lower() for entry in json.loads(listing)}
    assert "onnxruntime" in found
    assert found.isdisjoint(HEAVY)


def test_every_detector_is_listed(installed, tmp_path):
    listing = run(installed / "dfbench", "list", cwd=tmp_path)
    for plugin in PLUGINS:
        assert plugin.removeprefix("deepfake-") in listing


def test_a_picture_is_protected(installed, tmp_path):  # 002-7
    run(installed / "dfbench", "protect", PICTURE, "--out", tmp_path / "out", cwd=tmp_path)
    assert (tmp_path / "out").is_dir()
    assert any((tmp_path / "out").iterdir())


def test_a_picture_is_judged(installed, tmp_path):
    line = run(installed / "dfbench", "predict", PICTURE, "--format", "jsonl", cwd=tmp_path)
    result = json.loads(line)
    assert result["verdict"] in {"real", "fake", "unsure"}
    assert 0 <= result["p_fake"] <= 1
    assert len(result["faces"]) == 1
    assert len(result["faces"][0]["box"]) == 4


def test_what_needs_torch_says_how_to_get_it(installed, tmp_path):
    done = subprocess.run(
        [installed / "dfbench", "train", "lite", "--data", tmp_path, "--run-dir", tmp_path / "run"],
        cwd=tmp_path, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install 'deepfake-lite[" in done.stderr
    assert "Traceback" not in done.stderr

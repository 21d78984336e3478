"""Models outside of packages: the folder that DEEPFAKE_WEIGHTS names, and the ensemble ``best``."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deepfake_core import Ensemble, load
from deepfake_core.discovery import placed as places
from deepfake_core.discovery import plugins
from deepfake_core.discovery.placed import placed
from deepfake_core.errors import DeepfakeError, DuplicatePlugin, WeightsUnavailable


@pytest.fixture
def folder(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPFAKE_WEIGHTS", str(tmp_path))
    return tmp_path


def test_what_is_placed_comes_before_what_is_packaged(folder: Path, tiny: Path) -> None:
    packaged = load("tiny").origin
    assert packaged == {"name_or_path": "tiny"}
    (model,) = tiny.glob("*.onnx")
    shutil.copy(model, folder / "tiny.onnx")
    assert load("tiny").origin == {"name_or_path": str(folder / "tiny.onnx")}
    shutil.copytree(tiny, folder / "run" / "model")
    shutil.copytree(folder / "run", folder / "tiny")  # a folder before a file, and that of a run as well
    assert load("tiny").origin == {"name_or_path": str(folder / "tiny")}
    assert load("run").manifest.name == "tiny"  # any name, also that of no detector


def test_a_model_of_another_detector_and_a_wrong_folder_are_refused(
    folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, folder / "tiny-bare")
    with pytest.raises(DeepfakeError, match="is a model of tiny, not of tiny-bare; give it another name"):
        load("tiny-bare")
    monkeypatch.setenv("DEEPFAKE_WEIGHTS", str(folder / "nowhere"))
    with pytest.raises(DeepfakeError, match="nowhere: is not a folder; name one that holds models, or unset"):
        load("tiny")
    monkeypatch.delenv("DEEPFAKE_WEIGHTS")
    assert placed("tiny") is None
    with pytest.raises(WeightsUnavailable, match=r"place it as tiny-bare\.onnx in the folder that DEEPFAKE_WEIGHTS"):
        load("tiny-bare")


def offering(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let detectors offer the folder ``best`` of their package as the ensemble."""
    known = dict(plugins.detectors())
    for name in names:
        known[name] = replace(known[name], spec=replace(known[name].spec, best="deepfake_tiny:best"))
    monkeypatch.setattr(places, "detectors", lambda: known)


def test_best_is_the_ensemble_that_ships_or_that_was_placed(
    folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsUnavailable, match=r"'best' is an ensemble, and none ships .* tiny") as caught:
        load("best")
    assert "dfbench ensemble lite runs/mine --out FOLDER/best" in str(caught.value)
    offering(monkeypatch, "tiny")
    monkeypatch.setattr(places, "packaged_folder", lambda _name, _place: folder / "shipped")
    with pytest.raises(WeightsUnavailable):
        load("best")  # its folder is missing
    opened: list[Path] = []
    monkeypatch.setattr(Ensemble, "read", classmethod(lambda _cls, place, _load: opened.append(place) or load("tiny")))
    for place in ("shipped", "best"):
        (folder / place).mkdir()
        (folder / place / "ensemble.json").touch()
        load("best")
    assert opened == [folder / "shipped", folder / "best"]


def test_two_detectors_cannot_both_bring_the_best(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offering(monkeypatch, "tiny", "tiny-bare")
    monkeypatch.setattr(places, "packaged_folder", lambda _name, _place: tiny)
    with pytest.raises(DuplicatePlugin, match="'best' is offered by tiny and tiny-bare"):
        load("best")

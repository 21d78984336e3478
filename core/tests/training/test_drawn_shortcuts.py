"""What tells the classes of the drawn samples apart is measured before a run trains on them."""

from __future__ import annotations

import json
import logging

import cv2
import numpy as np
import pytest
from drawn_faces import DrawnFaces

from deepfake_core.contract.recipe import Pairs, PseudoFakes, TrainRecipe
from deepfake_core.contract.training_set import Draw, TrainingSet
from deepfake_core.data.audit.result import ALL, Shortcuts
from deepfake_core.errors import InputError
from deepfake_core.training.pairs.pairs import PairDataset
from deepfake_core.training.pairs.planner import PairSource, Planner
from deepfake_core.training.runs.rundir import RunDir
from deepfake_core.training.shortcuts import drawn
from deepfake_core.training.shortcuts.drawn import audit_run, drawn_shortcuts, shortcuts_of

pytestmark = pytest.mark.torch

RECIPE = TrainRecipe(
    samples="pairs",
    shortcut_samples=24,
    pairs=Pairs(pseudo=PseudoFakes(self_blend=0.5, composite=0, reconstruct=0, labelled=0.5)),
)


class Planted(TrainingSet):
    """Noise, of which the fakes are blurred where the data are measured plainly, and one picture is damaged."""

    def __init__(self, *, drawn_too: bool) -> None:
        self.drawn_too = drawn_too

    def __len__(self):
        return 1

    def order(self, epoch):
        return np.zeros(1, np.int64)

    def __getitem__(self, key):
        raise AssertionError("no sample is taken")

    def draws(self, most, *, plain=False):
        for item in range(2 * most):
            blurred = item % 2 and (plain or self.drawn_too)
            yield Draw("a", (item % 2,), (item,), lambda item=item, blurred=blurred: self.made(item, blurred))

    def made(self, item, blurred):
        if item == 3:
            raise InputError("face", "damaged")
        image = np.random.default_rng(item).integers(0, 255, (1, 32, 32, 3), np.uint8)
        return cv2.GaussianBlur(image[0], (5, 5), 1.5)[None] if blurred else image


def test_a_planted_shortcut_is_named_and_kept_with_the_run(tmp_path, caplog, monkeypatch):
    with RunDir(tmp_path / "run") as run, caplog.at_level(logging.INFO, "deepfake.training"):
        audit_run(Planted(drawn_too=True), RECIPE, run)
        said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert any(line.startswith("a: ") and "apart at AUC 1.00" in line for line in said)
        assert 1 < len(said) <= drawn.SHOWN + 1
        kept = json.loads((run.folder / "shortcuts.json").read_text())
        assert {source.source for source in Shortcuts.from_dict(kept["drawn"]).sources} == {"a"}
        short = shortcuts_of(run)["shortcuts"]
        assert short["drawn"]["a"]["auc"] == short["data"]["a"]["auc"] == 1.0
        json.dumps(short)
        run.write_json("metrics_log.csv", {})
    monkeypatch.setattr(drawn, "drawn_shortcuts", lambda *_: pytest.fail("a resumed run keeps what it found"))
    (tmp_path / "run" / "config.yaml").write_text("{}")
    with RunDir(tmp_path / "run", resume=True) as run:
        audit_run(Planted(drawn_too=True), RECIPE, run)


def test_what_the_recipe_takes_away_is_in_the_data_alone(tmp_path, caplog):
    with RunDir(tmp_path / "run") as run, caplog.at_level(logging.INFO, "deepfake.training"):
        audit_run(Planted(drawn_too=False), RECIPE, run)
        short = shortcuts_of(run)["shortcuts"]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert "nothing certainly tells the classes apart" in caplog.text
    assert short["drawn"]["a"]["auc"] < 0.75
    assert short["data"]["a"]["auc"] == 1.0


@pytest.mark.parametrize("settings", [{"shortcut_samples": 0}, {"overfit": 4}, {"shortcut_samples": 10}])
def test_nothing_is_written_where_nothing_is_measured(tmp_path, settings):
    with RunDir(tmp_path / "run") as run:
        audit_run(Planted(drawn_too=True), RECIPE.model_copy(update=settings), run)
        assert not (run.folder / "shortcuts.json").exists()
        assert shortcuts_of(run) == {}


def test_a_machine_without_scikit_learn_trains_without_the_audit(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(drawn, "find_spec", lambda _: None)
    with RunDir(tmp_path / "run") as run, caplog.at_level(logging.INFO, "deepfake.training"):
        audit_run(Planted(drawn_too=True), RECIPE, run)
    assert "scikit-learn is not installed" in caplog.text


def pairs():
    faces = DrawnFaces(60, side=96)
    planner = Planner(PairSource(faces, np.arange(60)), RECIPE.pairs, size=32, margin=1.3, cells=2)
    return PairDataset(planner, RECIPE)


def test_pairs_are_drawn_of_each_source_of_fakes_and_of_each_family():
    found = list(pairs().draws(20))
    names = [draw.source for draw in found]
    assert {name: names.count(name) for name in names} == {"a": 20, "b": 20, "self_blend": 20}
    assert all(draw.fake == (0, 1) for draw in found)
    assert all(draw.groups[0] == draw.groups[1] for draw in found if draw.source == "self_blend")
    image = found[0].make()
    assert image.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(image, next(pairs().draws(20)).make())
    plain = list(pairs().draws(20, plain=True))
    assert {draw.source for draw in plain} == {"a", "b"}
    result = drawn_shortcuts(pairs(), RECIPE)
    assert {source.source for source in result.sources} == {"a", "b", "self_blend", ALL}

"""Recipes that name an augmentation policy by its old name mean the same as before, for one release."""

from __future__ import annotations

import pytest

from deepfake_core import TrainRecipe
from deepfake_core.contract.recipe import RENAMED_POLICIES
from deepfake_core.training.recipes.resolve import resolve_recipe
from deepfake_core.training.runs.rundir import RunDir

DETECTOR = type("Stub", (), {"recipes": {"default": TrainRecipe()}})()


@pytest.mark.parametrize(("old", "new"), RENAMED_POLICIES.items())
def test_old_names_are_accepted_with_a_warning(old, new):
    with pytest.warns(FutureWarning, match=f"the augmentation '{old}' is called '{new}' now; write augment: {new}"):
        recipe = TrainRecipe(augment=old)
    assert recipe == TrainRecipe(augment=new)
    assert recipe.model_dump()["augment"] == new


def test_old_names_are_accepted_in_files_and_changes(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: default\naugment: radar\n")
    with pytest.warns(FutureWarning):
        assert resolve_recipe(DETECTOR, tmp_path / "mine.yaml").augment == "affine-codec"
    with pytest.warns(FutureWarning):
        assert resolve_recipe(DETECTOR, "default", ["augment=cvt"]).augment == "affine"


def test_a_run_that_began_under_an_old_name_goes_on(tmp_path):
    settings = {"detector": "stub", "config": {}, "recipe": TrainRecipe(augment="affine-codec").model_dump(mode="json")}
    with RunDir(tmp_path / "run") as run:
        run.start({**settings, "recipe": {**settings["recipe"], "augment": "radar"}}, {})
    with RunDir(tmp_path / "run", resume=True) as run, pytest.warns(FutureWarning):
        run.start(settings, {})

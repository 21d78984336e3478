"""What a training run needs is checked before anything is written."""

import pickle

import pytest
from crop_stores import Listed

from deepfake_core.contract.specs import DetectorSpec
from deepfake_core.discovery import plugins
from deepfake_core.errors import MissingExtra, MissingExtras, TrainingDataError
from deepfake_core.training import checks
from deepfake_core.training.checks import check_installed, check_torch, raise_missing

SPEC = DetectorSpec(
    name="x", summary="", detector="a:B", install="x[torch]", training=("x[train]", "--no-deps mesh==1.0")
)
MESH = MissingExtra("finding landmarks", "mesh==1.0", "--no-deps ")


def fails(error):
    def check():
        raise error

    return check


def test_one_message_names_all_that_is_missing_and_one_line_that_brings_it():
    errors = [MESH, MissingExtra("tracking", "core[track]"), MissingExtra("weights", "x[train]"), MESH]
    with pytest.raises(MissingExtras) as caught:
        raise_missing([*map(fails, errors), lambda: None])
    assert str(caught.value) == (
        "finding landmarks, tracking and weights need optional dependencies; run: "
        "pip install 'core[track]' 'x[train]' && pip install --no-deps 'mesh==1.0'"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(MissingExtra) as caught:
        raise_missing([fails(MESH)])
    assert caught.value is MESH


def test_without_torch_all_that_the_default_recipe_needs_is_named(monkeypatch):
    check_torch("x")
    monkeypatch.setattr(plugins, "detector_spec", {"x": SPEC}.__getitem__)
    monkeypatch.setattr(checks, "find_spec", lambda _name: None)
    line = r"training x needs .*: pip install 'x\[train\]' && pip install --no-deps 'mesh==1\.0'$"
    with pytest.raises(MissingExtra, match=line):
        check_torch("x")


@pytest.mark.torch
def test_packages_and_classes_are_checked_together(tmp_path, monkeypatch):
    from deepfake_core.contract.recipe import TrainRecipe
    from deepfake_core.data.crops import face_mesh
    from deepfake_core.training.trackers import opening

    class Needy:
        def missing_extras(self, recipe):
            return [MissingExtra("weights", "x[train]")] if recipe.pretrained else []

    def untracked(spec, run):
        raise MissingExtra(spec, "core[track]")

    def listed(name, *fakes):
        return Listed(tmp_path / name, [(f"{n}.png", {"is_fake": fake}) for n, fake in enumerate(fakes)])

    monkeypatch.setattr(opening, "_tracker", untracked)
    monkeypatch.setattr(face_mesh.importlib.util, "find_spec", lambda _name: None)
    pairs, pictures = TrainRecipe(samples="pairs"), TrainRecipe(pretrained=False)
    with pytest.raises(MissingExtras, match=r"weights, finding face landmarks and mlflow need"):
        check_installed(Needy(), pairs, ["mlflow"])
    check_installed(Needy(), pictures, (), [listed("both", True, False), listed("reals", False), None])
    with pytest.raises(TrainingDataError, match="reals: holds no fake pictures to train on"):
        check_installed(Needy(), pictures, (), [listed("reals", False)])
    with pytest.raises(TrainingDataError, match="none: holds no pictures"):
        check_installed(Needy(), pictures, (), [listed("both", True, False), listed("none")])

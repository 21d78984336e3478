"""What a finished run was selected on is found again."""

import numpy as np
import pytest
from crop_stores import write_tiny
from tiny_run import Bright

from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.errors import TrainingDataError
from deepfake_core.training import run as run_module
from deepfake_core.training.held_out import validation_of_run
from deepfake_core.training.recipes.resolve import recipe_of
from deepfake_core.training.run import train

pytestmark = pytest.mark.torch

RECIPE = TrainRecipe(
    phases=(Phase(steps=2),), samples="pictures", batch_size=4, workers=0, validation_share=0.5, channels_last=False,
    explain=0,
)  # fmt: skip


def test_the_validation_split_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "_conclude", lambda *_: None)  # it would load an installed detector
    data = write_tiny(tmp_path / "data", {"real": 12, "fake": 12})
    run = tmp_path / "run"
    train("bright", Bright(), str(data), RECIPE, run, device="cpu", track=())
    with np.load(run / "validation_scores.npz") as saved:
        fake, family = saved["fake"], saved["family"]
    again = validation_of_run(Bright(), run)
    assert len(again.fake) > 4
    assert again.images[0:3].shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(again.fake, fake)
    np.testing.assert_array_equal(again.family, family)
    for path in sorted(data.rglob("*.png"))[::2]:
        path.unlink()
    with pytest.raises(TrainingDataError, match="other validation samples than the run"):
        validation_of_run(Bright(), run, tmp_path / "anew")
    with pytest.raises(TrainingDataError, match="holds no run"):
        validation_of_run(Bright(), tmp_path)


def test_the_recipe_of_an_older_model_is_read_without_a_warning():
    stated = {**RECIPE.model_dump(mode="json"), "augment": "radar", "gone": 1, "start": None}
    manifest = Bright().manifest("bright", "trained", training=stated)
    assert recipe_of(manifest) == RECIPE.model_copy(update={"augment": "affine-codec"})
    assert recipe_of(Bright().manifest("bright", "untrained")) is None

"""What a run refuses, and what it notices."""

import pytest

from deepfake_core.detector import Detector
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.recipe import TrainRecipe
from deepfake_core.training.run import train
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage

pytestmark = pytest.mark.torch


class Whole(Detector):
    preprocess = PreprocessSpec(
        crop=WholeImage(), resize=Resize(height=32, width=32), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
    )

    def build(self):
        raise AssertionError("refused before anything is built")


def test_a_detector_of_whole_pictures_is_refused_before_any_work(tmp_path):
    with pytest.raises(TrainingDataError, match="whole pictures"):
        train("whole", Whole(), tmp_path / "data", TrainRecipe(samples="pairs"), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()

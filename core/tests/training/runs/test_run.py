"""What a run refuses, and what it notices."""

import pytest
from crop_stores import Listed

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.run import train
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage

pytestmark = pytest.mark.torch


class Whole(Detector):
    preprocess = PreprocessSpec(
        crop=WholeImage(), resize=Resize(height=32, width=32), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
    )

    def build(self):
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1), nn.Flatten(0))

    def param_groups(self, network):
        raise AssertionError("refused before any training")


def test_a_detector_of_whole_pictures_is_refused_before_any_work(tmp_path):
    with pytest.raises(TrainingDataError, match="whole pictures"):
        train("whole", Whole(), tmp_path / "data", TrainRecipe(samples="pairs"), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("separate", [False, True])
def test_test_samples_that_leak_are_refused_before_any_training(tmp_path, separate):  # resolution 7
    def listed(name, *splits):
        return Listed(tmp_path / name, [(f"{n}.png", {"split": split, "group": f"g{n // 2}", "is_fake": n % 2 == 1})
                                        for n, split in splits])  # fmt: skip

    seen = [(0, "train"), (1, "train"), (2, "valid"), (3, "valid")]
    data = listed("data", *seen) if separate else listed("data", *seen, (4, "test"), (5, "test"))
    test = listed("test", (2, ""), (4, "")) if separate else None
    if not separate:
        data.samples[4][1]["group"] = "g1"
    with pytest.raises(TrainingDataError, match="test samples and those of training or validation share 1 groups: g1"):
        train("whole", Whole(), data, TrainRecipe(), tmp_path / "run", test=test, device="cpu", track=())
    with pytest.raises(AssertionError, match="before any training"):
        train("whole", Whole(), data, TrainRecipe(), tmp_path / "untested", test=False, device="cpu", track=())

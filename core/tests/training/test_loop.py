"""The loop: it learns, follows its schedule, keeps the best, and resumes to the same bits."""

import csv

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from deepfake_core.detector import Detector, WithPreprocess
from deepfake_core.training.loop import fit, learning_rate
from deepfake_core.training.recipe import TrainRecipe
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage

pytestmark = pytest.mark.torch

RECIPE = TrainRecipe(steps=12, batch_size=8, lr=1e-2, eval_every=4, workers=0, ema=0.5, channels_last=False)


class Bright(Detector):
    """Tells bright pictures (fake) from dark ones."""

    preprocess = PreprocessSpec(
        crop=WholeImage(), resize=Resize(height=8, width=8), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
    )

    def build(self) -> nn.Module:
        features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        return nn.Sequential(features, nn.Linear(144, 1), nn.Flatten(0))


class Pairs(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return RECIPE.steps * RECIPE.batch_size // 2

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng(index)
        images = np.stack([rng.integers(0, 140, (8, 8, 3)), rng.integers(110, 256, (8, 8, 3))]).astype(np.uint8)
        return {"images": torch.from_numpy(images), "fake": torch.tensor([0.0, 1.0]), "weight": torch.ones(2)}


def validate(model: nn.Module) -> dict[str, float]:
    batch = [Pairs()[1000 + index] for index in range(8)]
    model.eval()
    with torch.inference_mode():
        logit = torch.cat([model(item["images"]) for item in batch])
    model.train()
    return {"auc": float((logit[1::2] > logit[::2]).float().mean()) + float(logit.mean()) * 1e-6}


def run(run_dir, validate=validate) -> dict[str, float]:
    run_dir.mkdir(exist_ok=True)
    torch.manual_seed(0)
    detector = Bright()
    return fit(detector, detector.build(), Pairs(), validate, RECIPE, run_dir, Accelerator(cpu=True))


def test_it_learns_and_keeps_what_it_validated(tmp_path):
    best = run(tmp_path)
    assert best["auc"] > 0.9
    network = Bright().build()
    network.load_state_dict(load_file(tmp_path / "best.safetensors"))
    assert validate(WithPreprocess(network, Bright.preprocess)) == pytest.approx(best, abs=1e-6)
    with (tmp_path / "metrics_log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["4", "8", "12"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


@pytest.mark.parametrize("cut_at", [1, 2])
def test_a_run_cut_off_resumes_to_the_same_bits(tmp_path, cut_at):
    run(tmp_path / "whole")
    calls = 0

    def dies(model: nn.Module) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls > cut_at:
            raise KeyboardInterrupt
        return validate(model)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", dies)
    run(tmp_path / "cut")
    whole, resumed = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "cut"))
    for name, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][name]), name
    for name, value in load_file(tmp_path / "whole" / "best.safetensors").items():
        assert torch.equal(value, load_file(tmp_path / "cut" / "best.safetensors")[name]), name


def test_the_rate_warms_up_and_falls_to_nothing():
    recipe = TrainRecipe(steps=100, lr=1.0, warmup=0.1)
    rates = [learning_rate(step, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 0.001

"""The attack with the network in hand, on a network whose answer can be computed by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepfake_bench.jobs import DatasetRef, Job
from deepfake_bench.scenarios import SCENARIOS, attack
from deepfake_bench.worker import run_job
from deepfake_core.inputs.decode import decode
from deepfake_core.results import Box, FaceResult, Result
from deepfake_core.runtimes.base import Outputs
from deepfake_registry.manifest import Calibration, Normalize, PreprocessSpec, Resize

SIDE = 16


class Brightness(nn.Module):
    """The brighter, the more fake: one level of 255 is worth 0.5 of a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(127.5))

    def forward(self, images):
        return self.scale * (images.mean((1, 2, 3)) - 0.5), images[:, 0]


class Judge:
    """A detector of brightness, whose network is the one above."""

    manifest = SimpleNamespace(
        calibration=Calibration(),
        preprocess=PreprocessSpec(
            resize=Resize(height=SIDE, width=SIDE), normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1))
        ),
    )

    def __init__(self) -> None:
        self.network = Brightness()

    def score(self, images):
        return Outputs(((images.mean((1, 2, 3)) - 127.5) / 2).astype(np.float32))

    def stream(self, inputs, *, keep_crops, **options):
        assert keep_crops
        for item in inputs:
            crop = decode(item).pixels
            logit = float(self.score(crop[None]).logit[0])
            p_fake = self.manifest.calibration.p_fake(logit)
            verdict = self.manifest.calibration.verdict(p_fake)
            face = FaceResult(Box(0, 0, SIDE, SIDE), 1.0, logit, p_fake, verdict, crop=crop)
            yield Result(str(item), verdict, p_fake, (face,), "judge 1", "trained")


@pytest.fixture
def faces(tmp_path) -> DatasetRef:
    """Reals of brightness 124 or 125, fakes of 130 or 131: six levels apart."""
    rng = np.random.default_rng(0)
    for label, level in {"real": 124, "fake": 130}.items():
        (tmp_path / label).mkdir()
        for index in range(8):
            grain = rng.integers(-20, 21, (SIDE // 2, SIDE, 3))
            picture = level + index % 2 + np.concatenate([grain, -grain])
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / label / f"{index}.png")
    return DatasetRef(name="faces", layout="image-folder", path=str(tmp_path))


def test_every_pixel_goes_as_far_as_it_may_in_the_worst_direction():
    judge = Judge()
    crops = np.random.default_rng(1).integers(10, 246, (11, SIDE, SIDE, 3)).astype(np.uint8)
    fake = np.arange(11) % 2
    for levels in attack.LEVELS:
        changed = attack.attacked(attack.whole_network(judge), crops, fake, levels)
        expected = np.where(fake == 1, -levels, levels)[:, None, None, None]
        assert np.array_equal(changed.astype(int) - crops, np.broadcast_to(expected, crops.shape))
    assert all(parameter.grad is None for parameter in judge.network.parameters())


def test_the_pixel_range_is_kept():
    crops = np.stack([np.zeros((SIDE, SIDE, 3), np.uint8), np.full((SIDE, SIDE, 3), 255, np.uint8)])
    changed = attack.attacked(attack.whole_network(Judge()), crops, np.array([1, 0]), 4)
    assert np.array_equal(changed, crops)
    assert set(np.unique(attack.shaken(crops, 4)).tolist()) == {0, 4, 251, 255}


def test_the_ranking_falls_under_attack_and_not_under_noise(faces):
    outcome = attack.measure(Judge(), Job(detector="x", scenario="attack", dataset=faces))
    found = outcome.metrics
    assert found["auc_clean"] == found["auc_noise_4"] == found["auc_pgd_1"] == found["auc_pgd_2"] == 1.0
    assert found["auc_pgd_4"] == 0.0  # 4 levels each way are more than the six between them
    assert found["fakes_found_clean"] == 1.0
    assert found["fakes_found_pgd_4"] == 0.0
    assert {row.variant for row in outcome.sources} == {"clean", "noise_4", "pgd_1", "pgd_2", "pgd_4"}
    scenario = SCENARIOS["attack"]
    assert {scenario.headline, *scenario.also} <= found.keys()
    assert not scenario.by_default


def test_an_exported_file_has_no_gradients_and_is_skipped(tiny, faces):
    row = run_job(Job(detector=tiny, scenario="attack", dataset=faces))
    assert row.status == "skipped"
    assert "exported file only" in row.reason

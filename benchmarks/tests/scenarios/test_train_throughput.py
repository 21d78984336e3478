"""Training throughput: the recipe's own steps, and the arithmetic that they are held against."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.train_throughput import FEWEST, _Bench, measure, peak_tflops
from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.contract.specs import DetectorSpec
from deepfake_core.errors import DeepfakeError
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.runtimes.torch import TorchRuntime
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage, manifest_of

pytestmark = pytest.mark.torch

RECIPE = TrainRecipe(phases=(Phase(steps=1, lr=1e-3),), batch_size=4, workers=0, channels_last=False)


class Linear(Detector):
    """16 × 16 × 3 inputs, one product each."""

    preprocess = PreprocessSpec(
        crop=WholeImage(), resize=Resize(height=16, width=16), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
    )
    recipes: ClassVar = {"default": RECIPE, "halves": RECIPE.model_copy(update={"accumulate": 2, "precision": "bf16"})}

    def build(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(768, 1), nn.Flatten(0))


@pytest.fixture
def linear():
    detector = Linear()
    manifest = manifest_of(
        name="linear", architecture="linear", version="1", preprocess=Linear.preprocess, weights="untrained"
    )
    spec = DetectorSpec(name="linear", summary="one product", detector="nowhere:Nothing", install="linear[torch]")
    loaded = LoadedDetector(spec, TorchRuntime(detector.build(), manifest, device="cpu"))
    loaded.__dict__["detector"] = detector
    return loaded


@pytest.mark.parametrize("recipe", ["default", "halves"])
def test_rates_follow_from_the_steps(linear, recipe):
    job = Job(detector="linear", scenario="train_throughput", device="cpu", seconds=0.05, recipe=recipe)
    found = measure(linear, job)
    per_step = 8 if recipe == "halves" else 4
    for metric, samples in (("images_per_s_on_device", "step_s_on_device"), ("images_per_s", "step_s")):
        assert len(found.samples[samples]) >= FEWEST
        median = torch.tensor(found.samples[samples], dtype=torch.float64).quantile(0.5).item()
        assert found.metrics[metric] == pytest.approx(per_step / median)
    assert found.conditions["recipe"] == recipe
    assert ("bf16" in found.conditions["batch"]) == (recipe == "halves")
    assert "gpu_memory_gb" not in found.metrics


def test_the_arithmetic_of_an_image_is_counted():
    # A product of [1, 768] and [768, 1] and its gradient for the weights; none is needed for the input.
    assert _Bench(Linear(), RECIPE, "cpu", 0.1).flops() == 2 * 768 * 2


def test_the_peak_is_a_number():
    assert 0 < peak_tflops(torch.device("cpu"), "fp32") < 1e4


def test_an_unknown_recipe_is_refused(linear):
    with pytest.raises(DeepfakeError, match="'slow'"):
        measure(linear, Job(detector="linear", scenario="train_throughput", recipe="slow"))

"""Training throughput: the recipe's own steps, and the arithmetic that they are held against."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from deepfake_bench.records.job import Job
from deepfake_bench.records.times import is_about_time
from deepfake_bench.scenarios.training.marks import Marks
from deepfake_bench.scenarios.training.measuring_store import mean_shape, stored_crops
from deepfake_bench.scenarios.training.steps import FEWEST, flops, peak_tflops
from deepfake_bench.scenarios.training.train_throughput import PARTS, _Bench, measure
from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.contract.specs import DetectorSpec
from deepfake_core.data.crops import face_mesh
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


def measured(detector, **settings):
    """What a measurement has found after each of its parts."""
    job = Job(detector="linear", scenario="train_throughput", device="cpu", seconds=0.01, **settings)
    return [(dict(found.metrics), found) for found in measure(detector, job)]


@pytest.mark.parametrize("recipe", ["default", "halves"])
def test_rates_follow_from_the_steps(linear, recipe):
    ((metrics, found),) = measured(linear, recipe=recipe, parts=("ready",))
    times = found.samples["step_s_on_device"]
    assert len(times) >= FEWEST
    per_step = 8 if recipe == "halves" else 4
    assert metrics == {"images_per_s_on_device": pytest.approx(per_step * len(times) / sum(times))}
    assert found.conditions["recipe"] == recipe
    assert ("bf16" in found.conditions["batch"]) == (recipe == "halves")


def test_every_part_adds_to_what_is_known_and_what_cannot_be_measured_is_a_remark(linear, store):
    steps = measured(linear, cache=str(store), batch_size=2)
    assert len(steps) == len(PARTS)
    metrics, found = steps[-1]
    assert all(before.items() <= after.items() for (before, _), (after, _) in pairwise(steps))
    ready = metrics["images_per_s_on_device"]
    assert metrics["store_over_ready"] == pytest.approx(metrics["images_per_s_store"] / ready)
    assert sum(value for name, value in metrics.items() if name.startswith("share_")) == pytest.approx(1)
    assert min(metrics["share_data"], metrics["share_forward"], metrics["share_backward"]) > 0
    assert {"images_per_s", "mfu", "tflops"} <= metrics.keys()
    assert not {"gpu_memory_gb", "gpu_over_cpu", "images_per_s_compiled"} & metrics.keys()
    assert found.conditions["batch"] == "2 (the recipe has 4), in fp32"
    assert found.conditions["store"].startswith("the 80 sample pictures")
    assert found.conditions["images_per_s_pairs"].startswith("not measured: Linear takes whole pictures")


@pytest.mark.parametrize("backend", ["eager", "no-such"])
def test_what_only_a_gpu_is_measured_in(linear, backend, monkeypatch):
    """Compiled steps, the other precision and the CPU beside it, here all on a CPU."""
    changed = RECIPE.model_copy(update={"compile_backend": backend})
    monkeypatch.setattr(Linear, "recipes", {"default": changed})
    with _Bench(linear.detector, Job(detector="linear", scenario="train_throughput", device="cpu", steps=1)) as bench:
        PARTS["ready"](bench)
        bench.on_gpu = True
        for part in ("compiled", "full", "cpu"):
            PARTS[part](bench)
    ready = bench.found.metrics.pop("images_per_s_on_device")
    compiled = bench.found.metrics.pop("images_per_s_compiled", None)
    assert bench.found.metrics.keys() == {"mixed_over_full", "gpu_over_cpu"}
    if backend == "no-such":
        assert compiled is None
        said = bench.found.conditions["images_per_s_compiled"]
        assert said.startswith("not measured: torch.compile failed: InvalidBackend")
        assert bench.best == ready
    else:
        assert bench.best == max(ready, compiled)
        assert bench.compiled == (compiled > ready)


@pytest.mark.parametrize("metric", ["share_data", "pairs_over_ready", "gpu_over_cpu", "images_per_s_pairs"])
def test_other_work_disturbs_shares_and_ratios_of_rates(metric):
    assert is_about_time(metric)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Folder in which the sample faces are a store already."""
    folder = tmp_path_factory.mktemp("faces")
    stored_crops("", folder)
    return folder


def test_the_sample_faces_have_landmarks_that_no_face_mesh_found(store, monkeypatch):
    monkeypatch.setattr(face_mesh, "model_file", None)
    crops, about = stored_crops("", store)
    points = np.asarray(crops.store.points, np.float32)
    assert points.shape == (80, len(face_mesh.POINTS), 2)
    assert ((points > 0) & (points < 1)).all()
    assert (crops.store.neighbours[crops.store.fake == 0][:, 0] >= 0).all()
    assert "not found ones" in about
    again, about = stored_crops(f"crops:{crops.store.folder}", store)
    assert again.store.fingerprint == crops.store.fingerprint
    assert about == "80 crops of the given data"


def test_the_mean_shape_is_a_face():
    shape = mean_shape()

    def at(part):
        return shape[face_mesh.places(part)].mean(0)

    right, left, nose, lips = map(at, (face_mesh.RIGHT_EYE, face_mesh.LEFT_EYE, face_mesh.NOSE, face_mesh.LIPS))
    assert right[0] < nose[0] < left[0]
    assert at(face_mesh.RIGHT_BROW)[1] < right[1] < nose[1] < lips[1] < shape[:, 1].max()
    # Both lids are where the mesh has them: point 145 is below the right eye, 159 above; 374 and 386 on the left.
    for below, above in ((145, 159), (374, 386), (17, 0)):
        low, high = shape[face_mesh.places((below, above))]
        assert low[1] > high[1]


def test_marks_tell_the_time_between_them():
    marks = Marks(torch.device("cpu"))
    for name in ("begin", "a", "b"):
        marks(name)
    assert [name for name, _ in marks.seconds()] == ["a", "b"]
    assert all(seconds >= 0 for _, seconds in marks.seconds())


def test_the_arithmetic_of_an_image_is_counted():
    # A product of [1, 768] and [768, 1] and its gradient for the weights; none is needed for the input.
    assert flops(Linear()) == 2 * 768 * 2


def test_the_peak_is_a_number():
    assert 0 < peak_tflops(torch.device("cpu"), "fp32") < 1e4


def test_an_unknown_recipe_and_an_unknown_part_are_refused(linear):
    with pytest.raises(DeepfakeError, match="'slow'"):
        measured(linear, recipe="slow")
    with pytest.raises(DeepfakeError, match="no part quick; it has ready, compiled"):
        measured(linear, parts=("quick",))

"""A teacher's answers are mixed into the targets: those of the very pictures, at its own size, without a wait."""

from __future__ import annotations

import json

import pytest
import torch
from crop_stores import write_faces
from tiny_run import RECIPE, Bright, Pixels, Unread

from deepfake_core import Ensemble, load
from deepfake_core.contract.detector import WithPreprocess
from deepfake_core.contract.recipe import Distil, Optimizer, Phase, Schedule, TrainRecipe
from deepfake_core.ensemble.runtime import bounded as bounded_array
from deepfake_core.errors import DeepfakeError, WeightsUnavailable
from deepfake_core.training.data.batches import Batches
from deepfake_core.training.loop import teacher
from deepfake_core.training.loop.accelerator import make_accelerator
from deepfake_core.training.loop.step import Stepper
from deepfake_core.training.loop.teacher import Teacher, bounded, load_teacher
from deepfake_core.training.recipes.changes import changed
from deepfake_core.training.recipes.stages import plan
from deepfake_core.training.train import train_detector
from deepfake_registry.manifest import Clip

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


@pytest.fixture
def images():
    return torch.randint(0, 256, (6, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def trained(seed=None, **fields):
    """Load the tiny detector as if it had been trained."""
    kind = {"untrained": True, "seed": seed} if seed is not None else {"backend": "torch"}
    loaded = load("tiny", device="cpu", **kind)
    loaded.manifest = loaded.runtime.manifest = loaded.manifest.model_copy(update={"weights": "trained", **fields})
    return loaded


def teacher_of(loaded, student=None, **settings):
    distil = Distil(teacher="tiny", **settings)
    return Teacher(loaded, distil, student or loaded.manifest.preprocess, CPU, "fp32")


def calibrated(loaded, images):
    calibration = loaded.manifest.calibration
    return torch.from_numpy(loaded.score(images.numpy()).logit) / calibration.temperature + calibration.bias


def test_targets_are_the_labels_mixed_with_the_calibrated_answers(tiny, images):
    loaded = trained()
    taught = teacher_of(loaded, weight=0.25, temperature=2.0)
    fake = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    with Unread():
        targets = taught.targets({"images": images, "fake": fake})
    torch.testing.assert_close(taught.logits(images), calibrated(loaded, images).float(), atol=1e-4, rtol=1e-4)
    expected = 0.75 * fake + 0.25 * torch.sigmoid(calibrated(loaded, images) / 2).float()
    torch.testing.assert_close(targets, expected, atol=1e-4, rtol=1e-4)
    assert not targets.requires_grad


def test_extreme_logits_are_bounded_as_in_an_ensemble():
    logit = torch.tensor([-1e6, -7.0, -6.0, 0.5, 40.0], dtype=torch.float64)
    torch.testing.assert_close(bounded(logit), torch.from_numpy(bounded_array(logit.numpy())))


def test_pictures_of_another_size_are_resized_and_frames_of_clips_averaged(tiny, images):
    loaded = trained()
    spec = loaded.manifest.preprocess
    taught = teacher_of(loaded, spec.model_copy(update={"clip": Clip(length=3)}))
    torch.testing.assert_close(taught.logits(images.unflatten(0, (2, 3))), taught.logits(images).view(2, 3).mean(1))
    large = images.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(taught.logits(large), taught.logits(images), atol=0.05, rtol=0.05)
    assert taught.warnings == []
    assert "for each clip" in taught.cost(8)


def test_an_ensemble_teaches_as_it_judges(tiny, images):
    members = [trained(), trained(seed=3, version="other")]
    together = Ensemble(members, [0.25, 0.75])
    taught = teacher_of(together, members[0].manifest.preprocess)
    torch.testing.assert_close(taught.logits(images), calibrated(together, images).float(), atol=1e-4, rtol=1e-4)


def test_who_cannot_teach_is_refused_and_another_crop_is_said(tiny):
    assert load_teacher(TrainRecipe(), Bright(), CPU) is None
    (said,) = teacher_of(trained(), Bright.preprocess).warnings
    assert "the crop of the detector to train (whole pictures), and was trained with another (margin 1.3)" in said
    with pytest.raises(DeepfakeError, match="untrained and has nothing to teach"):
        load_teacher(TrainRecipe(distil=Distil(teacher="tiny")), Bright(), CPU)
    with pytest.raises(WeightsUnavailable):
        load_teacher(TrainRecipe(distil=Distil(teacher="tiny-bare")), Bright(), CPU)
    clips = trained().manifest.preprocess.model_copy(update={"clip": Clip(length=3)})
    with pytest.raises(DeepfakeError, match="takes other clips"):
        teacher_of(trained(preprocess=clips), Bright.preprocess)


@pytest.mark.parametrize("settings", [{"accumulate": 2}, {"optimizer": Optimizer(sam=0.05), "precision": "bf16"}])
def test_a_step_asks_the_teacher_once_for_each_batch_and_waits_for_nothing(tiny, settings):
    recipe, accelerator = RECIPE.model_copy(update=settings), make_accelerator("cpu")
    detector, taught, asked = Bright(), teacher_of(trained(), Bright.preprocess), []
    network = detector.build()
    model, scaler = WithPreprocess(network, detector.preprocess), torch.amp.GradScaler("cpu", enabled=False)

    def targets(batch):
        asked.append(taught.targets(batch))
        return asked[-1]

    seen = []
    loss = detector.loss
    detector.loss = lambda output, batch: seen.append(batch["fake"]) or loss(output, batch)
    groups = detector.param_groups(network)
    step = Stepper(detector, model, groups, plan(recipe, 4)[0], recipe, scaler, accelerator, targets)
    (parts,) = Batches(Pixels(), recipe, accelerator).from_step(0, 1)
    with Unread():
        step(parts)
    assert len(asked) == len(parts) == recipe.accumulate
    assert all(any(one is answer or torch.equal(one, answer) for answer in asked) for one in seen)


def test_a_setting_inside_of_what_is_left_out_can_be_set():
    recipe = changed(TrainRecipe(), ["distil.teacher=lite", "distil.weight=0.5"])
    assert recipe.distil == Distil(teacher="lite", weight=0.5)
    assert changed(recipe, ["distil=null"]).distil is None
    with pytest.raises(DeepfakeError, match=r"distil\.teacher: Field required"):
        changed(TrainRecipe(), ["distil.weight=0.5"])


def test_a_run_with_a_teacher_says_its_cost_and_names_it_in_the_model(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher, "load", lambda *_given, **_options: trained())
    recipe = TrainRecipe(
        phases=(Phase(steps=1, lr=1e-3, schedule=Schedule(name="constant", warmup=0.0)),), batch_size=4, workers=0,
        validation_share=0.5, explain=0, distil=Distil(teacher="tiny"),
    )  # fmt: skip
    faces = write_faces(tmp_path / "data", 6, 6)
    model = train_detector(load("tiny"), faces, recipe, tmp_path / "run", device="cpu", track=())
    assert "tiny 0 teaches with weight 0.7; it takes" in (tmp_path / "run" / "run.log").read_text()
    assert "teacher: tiny 0" in (tmp_path / "run" / "config.yaml").read_text()
    assert model.manifest.training["distil"] == {"teacher": "tiny", "weight": 0.7, "temperature": 2.0}
    manifest = json.loads((tmp_path / "run" / "model" / "manifest.json").read_text())
    assert [one["name"] for one in manifest["provenance"] if one["role"] == "teacher"] == ["tiny 0"]

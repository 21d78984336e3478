"""The presets hold the defaults of the unified systems, by requirement."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deepfake_core.training.recipes.presets import PRESETS
from deepfake_core.training.recipes.resolve import resolve_recipe

DETECTOR: Any = SimpleNamespace(recipes={})


def test_two_phases_have_the_default_training_options():  # 001-8
    recipe = PRESETS["two-phase"]
    head, fine_tune = recipe.phases
    assert recipe.batch_size == 64
    assert (head.epochs, fine_tune.epochs) == (3, 5)
    assert head.lr == {"head": 1e-3}
    assert isinstance(fine_tune.lr, dict)
    assert fine_tune.lr["backbone"] == 1e-5
    assert recipe.seed == 42
    assert recipe.pretrained
    assert recipe.explain == 20  # 001-11


def test_the_backbone_is_frozen_first_and_then_follows_a_warm_cosine():  # 001-13, 001-14
    head, fine_tune = PRESETS["two-phase"].phases
    assert isinstance(head.lr, dict)
    assert isinstance(fine_tune.lr, dict)
    assert set(head.lr) == {"head"}, "groups that are not named are frozen"
    assert set(fine_tune.lr) == {"head", "backbone"}
    assert fine_tune.lr["backbone"] < head.lr["head"]
    assert fine_tune.schedule.name == "cosine"
    assert fine_tune.schedule.warmup > 0
    assert (PRESETS["two-phase"].monitor, PRESETS["two-phase"].mode) == ("auc", "max")
    assert PRESETS["two-phase"].eval_every is None, "validated, and last saved, every epoch"


def test_mixed_precision_on_a_gpu():  # 002-2, 002-3: --device auto is the command's; auto is fp32 on a CPU
    recipe = PRESETS["mixed-precision"]
    assert recipe.batch_size == 32
    assert sum(phase.epochs or 0 for phase in recipe.phases) == 50
    assert recipe.precision == "auto"


def test_plateau_has_the_keys_of_the_dual_stream():  # 003-6
    recipe = PRESETS["plateau"]
    (phase,) = recipe.phases
    assert recipe.samples == "clips"
    assert recipe.batch_size == 12
    assert phase.lr == 1e-4
    assert recipe.patience == 10
    assert recipe.precision == "auto"
    assert (phase.schedule.name, phase.schedule.factor, phase.schedule.patience) == ("plateau", 0.5, 3)


def test_plateau_splits_and_selects_as_the_dual_stream():
    recipe = PRESETS["plateau"]
    assert recipe.validation_share == 0.15  # 003-8
    assert (recipe.monitor, recipe.mode) == ("val_loss", "min")  # 003-10, 003-11
    assert recipe.grad_clip == 1.0  # 003-10


def test_one_cycle_optimises_as_radar():  # 004-5 (smoothing), 004-6
    recipe = PRESETS["one-cycle"]
    (phase,) = recipe.phases
    assert (recipe.optimizer.name, recipe.optimizer.weight_decay) == ("adamw", 0.05)
    assert phase.lr == 5e-4
    assert (phase.schedule.name, phase.schedule.warmup) == ("one_cycle", 0.1)
    assert recipe.grad_clip == 1.0
    assert recipe.accumulate == 2
    assert recipe.patience == 10
    assert recipe.precision == "auto"
    assert recipe.label_smoothing == 0.1
    assert recipe.augment == "affine-codec"  # 004-14
    assert recipe.max_images == 300_000  # 004-7


def test_the_core_keeps_what_any_detector_can_use():
    assert list(PRESETS) == ["two-phase", "mixed-precision", "plateau", "one-cycle"]


def test_one_cycle_has_the_default_training_options():  # 004-8
    recipe = PRESETS["one-cycle"]
    assert (recipe.batch_size, recipe.phases[0].epochs, recipe.seed) == (64, 30, 42)
    assert (recipe.monitor, recipe.mode) == ("auc", "max")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_smoke_size(name):  # 001-30
    smoke = resolve_recipe(DETECTOR, name, smoke=True)
    assert smoke.batch_size == 4
    assert all(phase.steps == 3 for phase in smoke.phases)
    assert [phase.lr for phase in smoke.phases] == [phase.lr for phase in PRESETS[name].phases]

"""The presets hold the defaults of the systems that they stand for, by requirement."""

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
    for name in PRESETS:
        if not name.startswith("two-phase"):
            continue
        head, fine_tune = PRESETS[name].phases
        assert isinstance(head.lr, dict)
        assert isinstance(fine_tune.lr, dict)
        assert set(head.lr) == {"head"}, "groups that are not named are frozen"
        assert set(fine_tune.lr) == {"head", "backbone"}
        assert fine_tune.lr["backbone"] < head.lr["head"]
        assert fine_tune.schedule.name == "cosine"
        assert fine_tune.schedule.warmup > 0
        assert (PRESETS[name].monitor, PRESETS[name].mode) == ("auc", "max")
        assert PRESETS[name].eval_every is None, "validated, and last saved, every epoch"


def test_the_smaller_settings_in_use_have_presets():  # 001-9
    made = {(r.batch_size, *(p.epochs for p in r.phases)) for n, r in PRESETS.items() if n.startswith("two-phase-")}
    assert {batch for batch, *_ in made} == {4, 5, 32}
    assert {tuple(epochs) for _, *epochs in made} == {(1, 1), (5, 5), (10, 10), (25, 15)}
    rates = [phase.lr for recipe in PRESETS.values() for phase in recipe.phases if isinstance(phase.lr, dict)]
    assert 1e-4 in {rate["backbone"] for rate in rates if "backbone" in rate}


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
    for name in ("one-cycle", "one-cycle-fast", "one-cycle-full"):
        recipe = PRESETS[name]
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


def test_one_cycle_has_the_default_training_options():  # 004-8
    recipe = PRESETS["one-cycle"]
    assert (recipe.batch_size, recipe.phases[0].epochs, recipe.seed) == (64, 30, 42)
    assert (recipe.monitor, recipe.mode) == ("auc", "max")


def test_one_cycle_is_fast_or_full():  # 004-11
    fast, full = PRESETS["one-cycle-fast"], PRESETS["one-cycle-full"]
    assert (fast.data_share, fast.batch_size, fast.workers, fast.phases[0].epochs) == (0.2, 256, 8, 20)
    assert fast.compile
    assert fast.channels_last
    assert (full.data_share, full.batch_size, full.workers, full.phases[0].epochs) == (1.0, 128, 12, 30)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_smoke_size(name):  # 001-30
    smoke = resolve_recipe(DETECTOR, name, smoke=True)
    assert smoke.batch_size == 4
    assert all(phase.steps == 3 for phase in smoke.phases)
    assert [phase.lr for phase in smoke.phases] == [phase.lr for phase in PRESETS[name].phases]

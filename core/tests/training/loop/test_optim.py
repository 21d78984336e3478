"""Schedules, moving average and SAM against torch's own and against the definition."""

import pytest
import torch
from torch import nn

from deepfake_core.contract.recipe import Optimizer, Phase, Schedule, TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.loop.optim import MovingAverage, ascend, build_optimizer, freeze, restore, set_rates
from deepfake_core.training.recipes.schedule import rate
from deepfake_core.training.recipes.stages import plan

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("steps", [20, 37, 200])
@pytest.mark.parametrize("warmup", [0.1, 0.3])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_one_cycle_is_torchs(steps, warmup, name):  # 004-6
    phase = Phase(steps=steps, lr=5e-4, schedule=Schedule(name="one_cycle", warmup=warmup))
    groups = {"backbone": [nn.Parameter(torch.zeros(2, 2))]}
    ours, theirs = (build_optimizer(groups, phase, Optimizer(name=name)) for _ in range(2))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=5e-4, total_steps=steps, pct_start=warmup)
    for step in range(steps):
        set_rates(ours, phase, step, steps)
        mine, reference = ours.param_groups[0], theirs.param_groups[0]
        assert mine["lr"] == pytest.approx(reference["lr"], rel=1e-9, abs=1e-15)
        if name == "sgd":
            assert mine["momentum"] == pytest.approx(reference["momentum"])
        else:
            assert mine["betas"] == pytest.approx(reference["betas"])
        theirs.step()
        if step + 1 < steps:
            scheduler.step()


def test_the_cosine_warms_up_and_falls_to_nothing():  # 001-14
    phase = Phase(steps=100, lr=1.0, schedule=Schedule(name="cosine", warmup=0.1))
    rates = [rate(phase, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 0.001


def test_a_constant_rate_is_constant():
    phase = Phase(steps=10, schedule=Schedule(name="constant", warmup=0.2))
    assert [rate(phase, step, 10) for step in range(10)] == pytest.approx([0.5] + [1.0] * 9)


def test_phases_follow_each_other():
    recipe = TrainRecipe(phases=(Phase(epochs=3), Phase(steps=7), Phase(epochs=1)))
    assert [stage.steps for stage in plan(recipe, 10)] == [30, 7, 10]
    assert [stage.share for stage in plan(recipe, 10)] == pytest.approx([30 / 47, 7 / 47, 10 / 47])


def test_only_kernels_decay():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = build_optimizer({"all": list(network.parameters())}, Phase(steps=1), Optimizer(weight_decay=0.1))
    decays = {group["weight_decay"]: len(group["params"]) for group in optimizer.param_groups}
    assert decays == {0.1: 1, 0.0: 3}


def test_the_moving_average_is_the_recurrence():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = MovingAverage(model, 0.9)
    expected = None
    for step in range(5):
        with torch.no_grad():
            model[0].weight += torch.randn(2, 2)
        model(torch.randn(4, 2))
        average.update(step)
        keep = min(0.9, (1 + step) / (10 + step)) if step else 0.0
        value = model[0].weight.detach()
        expected = value.clone() if expected is None else expected * keep + value * (1 - keep)
    torch.testing.assert_close(average.module[0].weight, expected)
    assert average.module[1].num_batches_tracked == 5
    assert not average.module.training


def test_sam_climbs_by_its_radius_and_comes_back():  # arXiv 2010.01412, equation 2
    parameters = [nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(1))]
    before = [parameter.detach().clone() for parameter in parameters]
    (parameters[0].square().sum() + parameters[1].sum()).backward()
    steps = ascend(parameters, 0.05)
    moved = torch.cat([(now.detach() - then).flatten() for now, then in zip(parameters, before, strict=True)])
    assert moved.norm() == pytest.approx(0.05, rel=1e-5)
    restore(parameters, steps)
    for now, then in zip(parameters, before, strict=True):
        torch.testing.assert_close(now.detach(), then)


def test_parts_of_a_backbone_train_by_their_own_name_or_by_that_of_the_whole():
    names = ("backbone/1-4", "backbone/5-8", "head")
    model = nn.ModuleList(nn.Linear(2, 1) for _ in names)
    groups = {name: list(part.parameters()) for name, part in zip(names, model, strict=True)}
    for lr, training in (
        ({"backbone": 1e-4}, [True, True, False]),
        ({"backbone/5-8": 1e-5, "head": 1e-3}, [False, True, True]),
        ({"backbone/5-8": 1e-5, "backbone": 1e-4}, [True, True, False]),
        (1e-3, [True, True, True]),
    ):
        phase = Phase(steps=1, lr=lr)
        freeze(model, groups, phase)
        assert [all(p.requires_grad for p in part.parameters()) for part in model] == training
    described = build_optimizer(groups, Phase(steps=1, lr={"backbone/5-8": 1e-5, "backbone": 1e-4}), Optimizer())
    rates = {group["name"]: group["peak"] for group in described.param_groups}
    assert rates == {"backbone/1-4": 1e-4, "backbone/5-8": 1e-5}
    with pytest.raises(DeepfakeError, match="lr names backbone/9"):
        freeze(model, groups, Phase(steps=1, lr={"backbone/9": 1e-4}))

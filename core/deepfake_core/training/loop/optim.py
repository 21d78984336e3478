"""Optimisers, learning rates, the moving average and sharpness-aware minimisation: what one step is made of."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepfake_core.contract.recipe import Optimizer, Phase, TrainRecipe
from deepfake_core.errors import DeepfakeError

# torch's defaults for one cycle: where the rate starts and ends, and the momentum that mirrors it.
_START_DIVISOR, _END_DIVISOR = 25.0, 1e4
_LOW_MOMENTUM, _HIGH_MOMENTUM = 0.85, 0.95


@dataclass(frozen=True)
class Stage:
    """A phase with its place in the run: optimiser steps ``first`` to ``last``, the latter excluded."""

    phase: Phase
    first: int
    last: int


def plan(recipe: TrainRecipe, steps_per_epoch: int) -> tuple[Stage, ...]:
    """The phases of a recipe, one after the other, in optimiser steps."""
    stages: list[Stage] = []
    for phase in recipe.phases:
        first = stages[-1].last if stages else 0
        length = phase.steps if phase.steps is not None else (phase.epochs or 0) * steps_per_epoch
        stages.append(Stage(phase, first, first + length))
    return tuple(stages)


def rate(phase: Phase, step: int, steps: int) -> float:
    """Learning rate over its peak at ``step`` of a phase of ``steps`` steps; a plain function of the step.

    A plateau's reductions come on top, as they depend on what validation measured.
    """
    schedule = phase.schedule
    if schedule.name == "one_cycle":
        up, down = _one_cycle(schedule.warmup, step, steps)
        low, end = 1 / _START_DIVISOR, 1 / _START_DIVISOR / _END_DIVISOR
        return _cosine(low, 1.0, up) if down is None else _cosine(1.0, end, down)
    warmup = max(1, round(schedule.warmup * steps)) if schedule.warmup else 0
    if step < warmup:
        return (step + 1) / warmup
    if schedule.name == "cosine":
        return _cosine(1.0, 0.0, (step - warmup) / max(1, steps - warmup))
    return 1.0


def momentum(phase: Phase, step: int, steps: int) -> float | None:
    """Momentum (Adam's first beta) that one cycle asks for at ``step``; ``None`` keeps the optimiser's own."""
    if phase.schedule.name != "one_cycle":
        return None
    up, down = _one_cycle(phase.schedule.warmup, step, steps)
    low, high = _LOW_MOMENTUM, _HIGH_MOMENTUM
    return _cosine(high, low, up) if down is None else _cosine(low, high, down)


def _one_cycle(warmup: float, step: int, steps: int) -> tuple[float, float | None]:
    """How far the rise is, and how far the fall, once it has begun (Smith & Topin 2018, as torch counts it)."""
    peak = warmup * steps - 1
    if peak > 0 and step <= peak:
        return step / peak, None
    return 1.0, (step - max(peak, 0)) / max(1e-9, steps - 1 - max(peak, 0))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def freeze(model: nn.Module, groups: Mapping[str, Sequence[nn.Parameter]], phase: Phase) -> None:
    """Let the groups that the phase names learn, and no others.

    Raises:
        DeepfakeError: The phase names a group that the detector does not have.
    """
    if isinstance(phase.lr, dict) and (unknown := sorted(set(phase.lr) - set(groups))):
        raise DeepfakeError(
            f"phase {phase.name!r}: lr names {', '.join(unknown)}, but this detector's groups of parameters are "
            f"{', '.join(sorted(groups))}"
        )
    for name, parameters in groups.items():
        for parameter in parameters:
            parameter.requires_grad_(phase.peak(name) is not None)
    train_mode(model)


def train_mode(model: nn.Module) -> None:
    """Training mode, except for frozen normalisation layers, whose running statistics stay as they are."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own):
            module.eval()


def build_optimizer(
    groups: Mapping[str, Sequence[nn.Parameter]], phase: Phase, settings: Optimizer
) -> torch.optim.Optimizer:
    """The optimiser of one phase. Each of its groups carries ``name`` and its ``peak`` learning rate.

    Matrices and kernels decay; biases and normalisation do not.
    """
    described: list[dict[str, Any]] = []
    for name, parameters in groups.items():
        peak = phase.peak(name)
        if peak is None:
            continue
        kernels = [parameter for parameter in parameters if parameter.ndim > 1]
        others = [parameter for parameter in parameters if parameter.ndim <= 1]
        for chosen, decay in ((kernels, settings.weight_decay), (others, 0.0)):
            if chosen:
                described.append({"params": chosen, "weight_decay": decay, "lr": peak, "peak": peak, "name": name})
    # One kernel for all parameters: on a CPU, too, several times faster than one parameter after the other.
    if settings.name == "sgd":
        return torch.optim.SGD(
            described, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=True, lr=1.0
        )
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(described, betas=settings.betas, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, stage: Stage, step: int, reduction: float) -> None:
    """Give every group its learning rate (and momentum) for ``step`` of the run."""
    local, length = step - stage.first, stage.last - stage.first
    scale = rate(stage.phase, local, length) * reduction
    cycled = momentum(stage.phase, local, length)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * scale
        if cycled is not None and "betas" in group:
            group["betas"] = (cycled, group["betas"][1])
        elif cycled is not None:
            group["momentum"] = cycled


class MovingAverage:
    """Exponential moving average of a model's weights and buffers.

    The decay grows from 0.1, so that early steps are not dominated by the initial weights.

    Attributes:
        module: The averaged copy, in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step number ``step``, counted from 0."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step)) if step else 1.0
        with torch.no_grad():
            averages, values = [], []
            for average, value in zip(_tensors(self.module), _tensors(model), strict=True):
                if average.is_floating_point():
                    averages.append(average)
                    values.append(value.detach())
                else:
                    average.copy_(value)
            torch._foreach_lerp_(averages, values, weight)


def _tensors(model: nn.Module) -> Iterable[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


@torch.no_grad()
def climb(parameters: Sequence[nn.Parameter], radius: float) -> list[Tensor]:
    """Move the weights uphill along their gradients by ``radius`` altogether (SAM's first step).

    Returns:
        What was added to each parameter that has a gradient, to be taken off again by :func:`descend`.
    """
    moved = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in moved if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    steps = [gradient * (radius / (norm + 1e-12)) for gradient in gradients]
    torch._foreach_add_(list[Tensor](moved), steps)
    return steps


@torch.no_grad()
def descend(parameters: Sequence[nn.Parameter], steps: Sequence[Tensor]) -> None:
    """Take off what :func:`climb` added; the parameters that have gradients must be the same."""
    torch._foreach_sub_([parameter for parameter in parameters if parameter.grad is not None], list(steps))

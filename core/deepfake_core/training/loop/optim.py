"""The optimiser of a phase: which parameters it updates, with which weight decay and at which learning rate.

With it go sharpness-aware minimisation (SAM; Foret et al. 2021, arXiv 2010.01412) and the moving average of the
weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

from deepfake_core.contract.recipe import Optimizer, Phase
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.schedule import momentum, rate


def freeze(model: nn.Module, groups: Mapping[str, Sequence[nn.Parameter]], phase: Phase) -> None:
    """Make the parameter groups that the phase names trainable, and freeze all others.

    Args:
        model: Model that holds the parameters; it is set to training mode.
        groups: Parameters of the model by group.
        phase: Phase whose ``lr`` names the groups to train; a single learning rate trains all of them.

    Raises:
        DeepfakeError: The phase names a group that the detector does not have.
    """
    known = {name.rsplit("/", depth)[0] for name in groups for depth in range(name.count("/") + 1)}
    if isinstance(phase.lr, dict) and (unknown := sorted(set(phase.lr) - known)):
        raise DeepfakeError(
            f"phase {phase.name!r}: lr names {', '.join(unknown)}, but this detector's groups of parameters are "
            f"{', '.join(sorted(groups))}"
        )
    for name, parameters in groups.items():
        for parameter in parameters:
            parameter.requires_grad_(phase.peak(name) is not None)
    train_mode(model)


def train_mode(model: nn.Module) -> None:
    """Set training mode everywhere but in frozen batch normalisation, whose running statistics must not change."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own):
            module.eval()


def build_optimizer(
    groups: Mapping[str, Sequence[nn.Parameter]], phase: Phase, settings: Optimizer
) -> torch.optim.Optimizer:
    """Build the optimiser of one phase.

    Weight decay applies to matrices and kernels; biases and normalisation parameters do not decay.

    Args:
        groups: Parameters of the network by group.
        phase: Phase that gives each group its peak learning rate; groups without one are left out.
        settings: Optimiser of the recipe.

    Returns:
        The optimiser. Each of its ``param_groups`` has the additional entries ``name`` (the group) and ``peak``
        (its peak learning rate).
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
    # The fused kernels update all parameters at once, which is several times faster, also on a CPU.
    if settings.name == "sgd":
        return torch.optim.SGD(
            described, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=True, lr=1.0
        )
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(described, betas=settings.betas, fused=True)


def set_rates(
    optimizer: torch.optim.Optimizer, phase: Phase, place: float, length: int, reduction: float = 1.0
) -> None:
    """Set the learning rate and, for a one-cycle schedule, the momentum of every parameter group.

    Args:
        optimizer: Optimiser from :func:`build_optimizer`.
        phase: Phase of the run.
        place: Place in the schedule of the phase, counted from 0.
        length: Length of the schedule.
        reduction: Factor that a plateau schedule has reached; 1.0 for the other schedules.
    """
    scale = rate(phase, place, length) * reduction
    cycled = momentum(phase, place, length)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * scale
        if cycled is not None and "betas" in group:
            group["betas"] = (cycled, group["betas"][1])
        elif cycled is not None:
            group["momentum"] = cycled


@torch.no_grad()
def ascend(parameters: Sequence[nn.Parameter], radius: float) -> list[Tensor]:
    """Move the weights along their gradients by a distance of ``radius`` over all parameters.

    Returns:
        The change of each parameter that has a gradient; :func:`restore` subtracts it again.
    """
    moved = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in moved if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    changes = torch._foreach_mul(gradients, radius / (norm + 1e-12))
    torch._foreach_add_(list[Tensor](moved), changes)
    return list(changes)


@torch.no_grad()
def restore(parameters: Sequence[nn.Parameter], changes: Sequence[Tensor]) -> None:
    """Subtract what :func:`ascend` added; the same parameters must have gradients as then."""
    torch._foreach_sub_([parameter for parameter in parameters if parameter.grad is not None], list(changes))


class MovingAverage:
    """Exponential moving average of a model's weights and buffers.

    The decay grows from 0.1, so that the initial weights do not dominate the early steps.

    Args:
        model: Model on its device, whose weights are averaged; the average starts as a copy of it.
        decay: Final decay, between 0 and 1.

    Attributes:
        module: The averaged copy of the model, in evaluation mode.
        decay: Final decay.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self._own, self._theirs = _places(self.module), _places(model)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the model's weights after optimiser step ``step`` (counted from 0) to the average."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step)) if step else 1.0
        own, theirs = ([tensors[name] for tensors, name in places] for places in (self._own, self._theirs))
        real = [average.is_floating_point() for average in own]
        torch._foreach_lerp_(list(compress(own, real)), list(compress(theirs, real)), weight)
        counters = [not one for one in real]
        if any(counters):
            torch._foreach_copy_(list(compress(own, counters)), list(compress(theirs, counters)))


def _places(model: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Return where a model keeps its tensors, each of them once; going through all modules takes a millisecond."""
    places: dict[int, tuple[dict[str, Any], str]] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    places.setdefault(id(tensor), (tensors, name))
    return list(places.values())

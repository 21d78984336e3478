"""The exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of a model's weights and buffers.

    The decay grows from 0.1, so that the initial weights do not dominate the early steps.

    Args:
        model: Model whose weights are averaged; the average starts as a copy of it.
        decay: Final decay, between 0 and 1.

    Attributes:
        module: The averaged copy of the model, in evaluation mode.
        decay: Final decay.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    def update(self, model: nn.Module, step: int) -> None:
        """Add the weights after optimiser step ``step`` (counted from 0) to the average."""
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

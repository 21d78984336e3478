"""One optimiser step: forward and backward passes in the precision of the recipe, accumulation, SAM and clipping."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.runtimes.torch import autocast, has_bf16
from deepfake_core.training.data.batches import Part
from deepfake_core.training.loop.compiled import Forward
from deepfake_core.training.loop.optim import ascend, build_optimizer, freeze, restore
from deepfake_core.training.recipes.stages import Stage


class Stepper:
    """Takes the optimiser steps of one phase.

    Args:
        detector: Detector whose loss is minimised.
        model: Model on the device of the accelerator: ``uint8 [N, H, W, 3]`` RGB → the network's output.
        groups: Parameters of the network by group.
        stage: Phase of the run: the groups to train and their learning rates.
        recipe: Recipe of the run.
        scaler: Gradient scaler for fp16.
        accelerator: Accelerator of the run.
        targets: Called with each batch on the device; returns its targets. ``None``: the labels.

    Attributes:
        optimizer: Optimiser of the phase.
        apart: Whether the samples of an item go through the network in passes of their own, because it normalises over
            the samples of a pass.
    """

    def __init__(
        self,
        detector: Detector,
        model: nn.Module,
        groups: Mapping[str, Sequence[nn.Parameter]],
        stage: Stage,
        recipe: TrainRecipe,
        scaler: torch.amp.GradScaler,
        accelerator: Accelerator,
        targets: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
    ) -> None:
        freeze(model, groups, stage.phase)
        self.detector, self.recipe, self.scaler, self.accelerator = detector, recipe, scaler, accelerator
        self.targets = targets
        self.apart = any(isinstance(module, _BatchNorm) for module in model.modules())
        self.precision = working_precision(recipe.precision, accelerator.device)
        self.optimizer = build_optimizer(groups, stage.phase, recipe.optimizer)
        self.learning = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.forward = Forward(model, recipe, stage, accelerator)
        self.wrapped: Any = accelerator.prepare_model(self.forward)

    def __call__(self, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
        """Take one optimiser step.

        Args:
            parts: One batch each; the gradients of all forward passes are averaged.

        Returns:
            The mean loss and the norm of the gradient before clipping, both ``float32 []`` on the device.
        """
        batches = [batch for part in parts for batch in self._passes(part)]
        with self.forward.step(batches[0]["images"].shape):
            return self._step(batches)

    def _passes(self, part: Part) -> list[dict[str, Tensor]]:
        """Return the batch of each forward pass of a part, with its targets."""
        batch, group = part.on(self.accelerator.device), part.tensors["images"].shape[1]
        if self.targets is not None:
            batch["fake"] = self.targets(batch)
        return [one_of_each(batch, group, turn) for turn in range(group)] if self.apart and group > 1 else [batch]

    def _step(self, batches: Sequence[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor]:
        total = self._add_gradients(batches)
        if self.recipe.optimizer.sam:
            changes = ascend(self.learning, self.recipe.optimizer.sam)
            self.optimizer.zero_grad(set_to_none=False)
            self._add_gradients(batches)
            restore(self.learning, changes)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in self.learning if p.grad is not None])
        if self.recipe.grad_clip:
            nn.utils.clip_grads_with_norm_(self.learning, self.recipe.grad_clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return total, norm

    def _add_gradients(self, batches: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Add the gradients of the mean loss of all batches, and return it."""
        total = torch.zeros((), device=self.accelerator.device)
        for number, batch in enumerate(batches, 1):
            # The processes exchange their gradients once, in the backward pass of the last batch.
            with contextlib.nullcontext() if number == len(batches) else self.accelerator.no_sync(self.wrapped):
                loss = self._loss(batch) / len(batches)
                self.accelerator.backward(self.scaler.scale(loss))
            total += loss.detach()
        return total

    def _loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        smoothing = self.recipe.label_smoothing
        with autocast(self.accelerator.device, self.precision):
            output = self.wrapped(batch["images"])
        smoothed = batch["fake"] * (1 - smoothing) + smoothing / 2
        return self.detector.loss(_float(output), {**batch, "fake": smoothed})


def one_of_each(batch: Mapping[str, Tensor], group: int, turn: int) -> dict[str, Tensor]:
    """Return one sample of each item, so that every turn has as many first samples as second ones, as far as it goes.

    A real face and the fake that was made of it must not be in one forward pass of a network that normalises over the
    samples of a pass: in training it would learn to compare the two through the statistics that they share, and fail on
    single pictures.

    Args:
        batch: Tensors ``[items · group, …]`` by name.
        group: Number of samples of an item.
        turn: Number of the pass, from 0 to ``group - 1``; all passes together have every sample once.
    """
    images = batch["images"]
    items = torch.arange(images.shape[0] // group, device=images.device)
    places = items * group + (items + turn) % group
    return {name: value[places] for name, value in batch.items()}


def working_precision(asked: str, device: torch.device) -> str:
    """Return the precision of the forward pass on a device: ``"fp32"``, ``"bf16"`` or ``"fp16"``.

    Args:
        asked: Precision of the recipe. ``"auto"`` is bf16 on a GPU that computes in it, fp16 on any other GPU, and fp32
            on a CPU.
        device: Device of the run.

    Raises:
        DeepfakeError: The recipe asks for fp16 on a CPU.
    """
    if asked == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if has_bf16(device) else "fp16"
    if asked == "fp16" and device.type == "cpu":
        raise DeepfakeError("precision=fp16 needs a GPU; use bf16 or fp32 on a CPU")
    return asked


def _float(output: Any) -> Any:
    """Convert the tensors of an output to float32, in any nesting of tuples, lists and dictionaries."""
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, dict):
        return {name: _float(value) for name, value in output.items()}
    return type(output)(_float(value) for value in output) if isinstance(output, tuple | list) else output

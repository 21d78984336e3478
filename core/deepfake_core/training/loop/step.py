"""One optimiser step: forward and backward passes, in the precision and with the tricks that the recipe names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.data.batches import Part
from deepfake_core.training.loop.optim import Stage, build_optimizer, climb, descend, freeze


class Augment(Protocol):
    """Changes images on the device."""

    def __call__(self, images: Tensor, step: int, places: NDArray[np.intp], /) -> Tensor:
        """``uint8 [N, H, W, 3]`` → the same, given the number of the pass and each sample's place in its batch."""


class Stepper:
    """Takes the optimiser steps of one phase.

    Args:
        detector: Whose loss is minimised.
        model: ``uint8 [N, H, W, 3]`` → output, on the device.
        groups: Its parameters by group.
        stage: The phase: which groups learn, and how fast.
        recipe: Everything else.
        scaler: Of losses in fp16.
        accelerator: Devices and processes.
        augment: Changes images on the device.
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
        augment: Augment | None = None,
    ) -> None:
        freeze(model, groups, stage.phase)
        self.detector, self.recipe, self.scaler, self.accelerator = detector, recipe, scaler, accelerator
        self.augment = augment
        self.precision = working_precision(recipe.precision, accelerator.device)
        self.optimizer = build_optimizer(groups, stage.phase, recipe.optimizer)
        self.learning = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.engine: Any = accelerator.prepare_model(model)
        if recipe.compile:
            self.engine = torch.compile(self.engine, backend=recipe.compile_backend)

    def __call__(self, parts: Sequence[Part], step: int) -> tuple[Tensor, Tensor]:
        """Take one step; the loss and the norm of the gradient before clipping, scalars on the device."""
        device = self.accelerator.device
        total = torch.zeros((), device=device)
        for number, part in enumerate(parts, 1):
            batch = part.on(device)
            if self.augment is not None:
                rank, processes = self.accelerator.process_index, self.accelerator.num_processes
                places = np.arange(len(batch["images"])) * processes + rank
                batch["images"] = self.augment(batch["images"], step * self.recipe.accumulate + number, places)
            last = number == len(parts)
            # The processes exchange gradients once, with the last part's backward pass.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.engine):
                loss = self._loss(batch) / len(parts)
                self.accelerator.backward(self.scaler.scale(loss))
            total += loss.detach()
        if self.recipe.optimizer.sam:
            uphill = climb(self.learning, self.recipe.optimizer.sam)
            self.optimizer.zero_grad(set_to_none=False)
            self.accelerator.backward(self._loss(batch))
            descend(self.learning, uphill)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.learning, self.recipe.grad_clip or float("inf"))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return total, norm

    def _loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        smoothing = self.recipe.label_smoothing
        with torch.autocast(
            self.accelerator.device.type,
            torch.float16 if self.precision == "fp16" else torch.bfloat16,
            enabled=self.precision != "fp32",
        ):
            output = self.engine(batch["images"])
        smoothed = batch["fake"] * (1 - smoothing) + smoothing / 2
        return self.detector.loss(_float(output), {**batch, "fake": smoothed})


def working_precision(asked: str, device: torch.device) -> str:
    """``fp32``, ``bf16`` or ``fp16`` for a device (002-3).

    Raises:
        DeepfakeError: fp16 was asked for on a CPU.
    """
    if asked == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if asked == "fp16" and device.type == "cpu":
        raise DeepfakeError("precision=fp16 needs a GPU; use bf16 or fp32 on a CPU")
    return asked


@contextlib.contextmanager
def recomputing(detector: Detector, network: nn.Module, wanted: bool) -> Iterator[None]:
    """Within the block, the detector's blocks keep no activations and recompute them in the backward pass.

    Raises:
        DeepfakeError: The detector names no blocks.
    """
    blocks = detector.checkpoint_modules(network) if wanted else ()
    if wanted and not blocks:
        raise DeepfakeError(f"{type(detector).__name__} names no blocks to recompute; set checkpointing=false")
    for block in blocks:
        block.forward = _recomputed(block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: Any, **named: Any) -> Any:
        return recomputed(forward, *inputs, use_reentrant=False, **named)

    return run


@contextlib.contextmanager
def memory_advice() -> Iterator[None]:
    """Turn running out of memory into what can be done about it (001-27, 003-16)."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        plain = not isinstance(error, torch.OutOfMemoryError | MemoryError)
        if plain and "not enough memory" not in str(error) and "out of memory" not in str(error):
            raise
        raise DeepfakeError(
            "out of memory. Three remedies: a smaller batch with accumulation (--set batch_size=8 --set accumulate=4), "
            "mixed precision (--set precision=auto), recomputed activations (--set checkpointing=true)"
        ) from error


def _float(output: Any) -> Any:
    """Tensors in any nesting of tuples, lists and dictionaries as float32."""
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, dict):
        return {name: _float(value) for name, value in output.items()}
    return type(output)(_float(value) for value in output) if isinstance(output, tuple | list) else output

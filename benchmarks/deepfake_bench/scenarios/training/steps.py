"""The steps that ``dfbench train`` takes, timed, with samples from anywhere; and what they are held against."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from deepfake_bench.scenarios.training.marks import Marks
from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.training.data.batches import Part
from deepfake_core.training.loop.optim import MovingAverage
from deepfake_core.training.loop.step import Stepper, working_precision
from deepfake_core.training.recipes.stages import plan

WARM_UP = 3
"""Steps before the clock starts."""
FEWEST = 4
"""Fewest steps that are timed."""
SIDE = {"cuda": 8192, "cpu": 2048}
"""Side of the square matrices whose product shows the peak rate of a device."""
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Steps:
    """The optimiser steps of the last phase of a recipe, which usually trains the whole network.

    Args:
        detector: Detector that is trained, from random weights.
        recipe: Recipe of the steps.
        accelerator: Accelerator with the device.

    Attributes:
        stepper: Forward and backward passes, and the optimiser.
    """

    def __init__(self, detector: Detector, recipe: TrainRecipe, accelerator: Accelerator) -> None:
        self.detector, self.recipe, self.accelerator = detector, recipe, accelerator
        network = detector.build()
        model = WithPreprocess(network, detector.preprocess).to(accelerator.device).train()
        if recipe.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        scaler = torch.amp.GradScaler(
            accelerator.device.type, enabled=working_precision(recipe.precision, accelerator.device) == "fp16"
        )
        self._average = MovingAverage(model, recipe.ema) if recipe.ema else None
        groups = detector.param_groups(network)
        self.stepper = Stepper(detector, model, groups, plan(recipe, 1)[-1], recipe, scaler, accelerator)

    def __call__(self, parts: Sequence[Part], number: int) -> None:
        """Take one step, and add its weights to the moving average where the recipe has one."""
        self.stepper(parts)
        if self._average:
            self._average.update(number)

    def ready(self) -> Iterator[list[Part]]:
        """Yield the samples of each step: the same noise again and again, which lies on the device."""
        batch, device = self.recipe.batch_size, self.accelerator.device
        shape = (batch, 1, *self.detector.preprocess.input_shape)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        fake = torch.arange(batch).remainder(2).float()[:, None]
        tensors = {"images": torch.from_numpy(noise), "fake": fake, "weight": torch.ones_like(fake)}
        if (evidence := self.detector.evidence_size) is not None:
            tensors["mask"] = torch.zeros(batch, 1, *evidence)
        part = Part([], {name: value.to(device) for name, value in tensors.items()})
        return repeat([part] * self.recipe.accumulate)

    def timed(
        self, feed: Iterable[list[Part]], seconds: float, *, buffered: int = 0, steps: int | None = None
    ) -> tuple[float, list[float]]:
        """Take steps for so many seconds; return the images per second, and the time of each step in s.

        Nothing waits for the device between steps, as in training. What makes samples ahead of time has made some when
        the clock starts; these do not count.

        Args:
            feed: Samples of each step.
            seconds: Time of the measurement in s.
            buffered: Number of steps whose samples may be made ahead of time.
            steps: Number of steps that are timed, after as many that are not; by default as many as fit.
        """
        marks, images, begun = Marks(self.accelerator.device), 0, 0.0
        first = steps or WARM_UP + buffered
        for number, parts in enumerate(feed, 1):
            self(parts, number)
            if number > first:
                marks("step")
                images += sum(part.tensors["images"].shape[:2].numel() for part in parts)
                if number >= first + (steps or FEWEST) and (steps or time.perf_counter() - begun >= seconds):
                    break
            elif number == first:
                marks.wait()
                marks("warm-up")
                begun = time.perf_counter()
        times = [taken for _, taken in marks.seconds()]
        return images / sum(times), times


def flops(detector: Detector) -> float:
    """Return the floating-point operations of one image, forward and backward."""
    model = WithPreprocess(detector.build(), detector.preprocess).train()
    images = torch.zeros(2, *detector.preprocess.input_shape, dtype=torch.uint8)
    counter = FlopCounterMode(display=False)
    with counter:
        output = model(images)
        logit: Tensor = output[0] if isinstance(output, tuple) else output
        logit.sum().backward()  # type: ignore[no-untyped-call]
    return counter.get_total_flops() / 2


def peak_tflops(device: torch.device, precision: str) -> float:
    """Measure the fastest product of two square matrices, in 10¹² floating-point operations per second."""
    side = SIDE[device.type]
    # Random numbers: a GPU multiplies zeros and ones faster, because it draws less power.
    factors = torch.randn(2, side, side, device=device).to(_TYPES[precision])
    marks = Marks(device)
    marks("begin")
    for _ in range(6):
        torch.matmul(factors[0], factors[1])
        marks("product")
    return 2 * side**3 / min(taken for _, taken in marks.seconds()) / 1e12

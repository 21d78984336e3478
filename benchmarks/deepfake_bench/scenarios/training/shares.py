"""The share of a training step that each of its parts takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepfake_bench.scenarios.training.marks import Marks
from deepfake_bench.scenarios.training.steps import Steps
from deepfake_core.training.data.augment import Augment
from deepfake_core.training.data.batches import Part

STEPS = 5
"""Steps whose parts are timed."""
PARTS = ("data", "augment", "forward", "backward", "optimizer")


def shares(
    steps: Steps, feed: Iterator[list[Part]], augment: Augment | None, *, buffered: int = 0, count: int = STEPS
) -> dict[str, float]:
    """Take some steps, one part after the other, and return ``share_PART`` of each part; together they are 1.

    Training makes the samples of a step on a GPU while the step before it is computed. Here nothing is done at the
    same time, so that a share says what a part costs.

    Args:
        steps: Steps to take, of which some have been taken before.
        feed: Samples of each step, as they come from the host or from what makes them.
        augment: Augmentation on the device; ``None`` for none.
        buffered: Number of steps whose samples may be made ahead of time.
        count: Number of steps that are timed.
    """
    marks = Marks(steps.accelerator.device)
    accelerator: Any = steps.accelerator
    backward: Callable[..., None] = accelerator.backward

    def marked(loss: Tensor, **named: Any) -> None:
        marks("forward")
        backward(loss, **named)
        marks("backward")

    accelerator.backward = marked
    try:
        for number in range(1 + buffered + count):
            if number == 1 + buffered:
                marks = Marks(steps.accelerator.device)
                marks("begin")
            parts = [_on_device(part, steps.accelerator.device) for part in next(feed)]
            marks("data")
            if augment is not None:
                parts = [_augmented(part, augment, number) for part in parts]
            marks("augment")
            steps(parts, number)
            marks("optimizer")
        taken = dict.fromkeys(PARTS, 0.0)
        for what, seconds in marks.seconds():
            taken[what] += seconds
    finally:
        accelerator.backward = backward
    total = sum(taken.values())
    return {f"share_{part}": taken[part] / total for part in PARTS}


def _on_device(part: Part, device: torch.device) -> Part:
    """Copy the samples of a forward pass to the device, each as a group of its own."""
    return Part(part.keys, {name: value[:, None] for name, value in part.on(device).items()})


@torch.no_grad()
def _augmented(part: Part, augment: Augment, number: int) -> Part:
    images = part.tensors["images"]
    changed = augment(images.flatten(0, 1), number, np.arange(len(images)))
    return Part(part.keys, {**part.tensors, "images": changed[:, None]})

"""The samples of each step, made ready on the device of the run while the step before it is computed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from deepfake_core.training.data.augment import Augment
from deepfake_core.training.data.batches import Feed, Part


class Ready:
    """The samples of a feed, on the device of the run and augmented.

    On a GPU the samples of a step are copied, or made, on a stream of their own while the step before it is computed:
    the host queues the work of a step much faster than the GPU does it. At most one step is ready ahead of time, so
    that memory is bounded. On a CPU the samples are made when they are asked for.

    Args:
        feed: What gives the run its samples.
        accelerator: Accelerator of the run.
        accumulate: Forward passes per optimiser step.
        augment: Augmentation on the device; ``None`` for none.
    """

    def __init__(self, feed: Feed, accelerator: Accelerator, accumulate: int, augment: Augment | None = None) -> None:
        self.feed, self.accelerator, self.accumulate, self.augment = feed, accelerator, accumulate, augment

    def from_step(self, start: int, stop: int | None = None) -> Generator[list[Part]]:
        """Yield the parts of each step from ``start`` to ``stop - 1``, without end where it is ``None``.

        Closing the generator, or an error in it, ends the processes and threads that make samples.
        """
        device = self.accelerator.device
        side = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        before = None  # the end of the step before the last one that was handed out
        with closing(self.feed.from_step(start, stop)) as steps:
            if side is None:
                for step, parts in enumerate(steps, start):
                    yield [self._on_device(part, step, number) for number, part in enumerate(parts, 1)]
                return
            side.wait_stream(torch.cuda.current_stream(device))  # what samples are made from is complete
            step = start
            while True:
                if before is not None:
                    side.wait_event(before)
                with torch.cuda.stream(side):
                    made = next(steps, None)
                    if made is None:
                        return
                    parts = [self._on_device(part, step, number) for number, part in enumerate(made, 1)]
                main = torch.cuda.current_stream(device)
                before = main.record_event()
                main.wait_stream(side)
                for tensor in _on_gpu(parts):
                    tensor.record_stream(main)  # its memory is kept until this stream has used it
                yield parts
                step += 1

    @torch.no_grad()
    def _on_device(self, part: Part, step: int, number: int) -> Part:
        """Copy and augment the samples of one forward pass; marks of unreadable ones stay where they are."""
        device = self.accelerator.device
        tensors = {
            name: value if name == "unreadable" else value.to(device, non_blocking=True)
            for name, value in part.tensors.items()
        }
        if self.augment is not None:
            images = tensors["images"]
            rank, processes = self.accelerator.process_index, self.accelerator.num_processes
            places = np.arange(images.shape[0] * images.shape[1]) * processes + rank
            changed = self.augment(images.flatten(0, 1), step * self.accumulate + number, places)
            tensors["images"] = changed.view_as(images)
        return Part(part.keys, tensors)


def _on_gpu(parts: list[Part]) -> list[Tensor]:
    return [tensor for part in parts for tensor in part.tensors.values() if tensor.is_cuda]

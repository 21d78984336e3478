"""Moments on the clock of a device, set without waiting for it."""

from __future__ import annotations

import time
from itertools import pairwise

import torch


class Marks:
    """Moments, each with the name of what ended then.

    On a GPU they are events in the current stream: the host goes on, and the times between them are read at the end.

    Args:
        device: Device whose work is timed.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self._marks: list[tuple[str, torch.cuda.Event | float]] = []

    def __call__(self, what: str) -> None:
        """Set a mark: ``what`` has ended here, which began at the mark before."""
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._marks.append((what, event))
        else:
            self._marks.append((what, time.perf_counter()))

    def wait(self) -> None:
        """Wait until the device has done everything that it was given."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self) -> list[tuple[str, float]]:
        """Wait for the device, and return the time in s up to each mark from the one before it, with its name."""
        self.wait()
        return [(what, _between(before, after)) for (_, before), (what, after) in pairwise(self._marks)]


def _between(before: torch.cuda.Event | float, after: torch.cuda.Event | float) -> float:
    if isinstance(before, float) or isinstance(after, float):
        assert isinstance(before, float)
        assert isinstance(after, float)
        return after - before
    return float(before.elapsed_time(after)) / 1e3

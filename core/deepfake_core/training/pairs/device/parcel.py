"""Arrays that go from the host to a device together, in one copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfake_core.runtimes.torch import to_device


class Parcel:
    """The numbers of a chunk on their way to a device, as ``float32``.

    Operations are put together on the host first, and add their arrays; after :meth:`send` they run. On a GPU the copy
    waits for nothing, and the host does not wait for it.
    """

    def __init__(self) -> None:
        self._arrays: list[NDArray[Any]] = []
        self._tensors: list[Tensor] = []

    def add(self, array: NDArray[Any]) -> Callable[[], Tensor]:
        """Add an array, and return the function that gives it as a ``float32`` tensor once it was sent."""
        place = len(self._arrays)
        self._arrays.append(array)
        return lambda: self._tensors[place]

    def send(self, device: torch.device) -> None:
        """Copy all arrays to a device."""
        sizes = [array.size for array in self._arrays]
        flat = np.concatenate([np.empty(0, np.float32), *(array.ravel() for array in self._arrays)], dtype=np.float32)
        parts = torch.split(to_device(flat, device), sizes)
        self._tensors = [part.view(array.shape) for part, array in zip(parts, self._arrays, strict=True)]

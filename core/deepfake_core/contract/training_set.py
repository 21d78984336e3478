"""What the training loop takes: samples that an epoch and a number decide, so that a run can go on from any step."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

Key = tuple[int, int]
"""Epoch and item: together with the recipe's seed they decide a sample, augmentation included."""


class TrainingSet(Dataset[dict[str, Tensor]]):
    """Samples by epoch and item number. It holds no state that changes, and can be sent to other processes.

    Attributes:
        group: Samples that one item holds, such as 2 where a real face comes with its fake.
    """

    group: int = 1

    @abstractmethod
    def __len__(self) -> int:
        """Items in one epoch."""

    @abstractmethod
    def order(self, epoch: int) -> NDArray[np.int64]:
        """Item numbers of one epoch in the order of training, ``int64 [len(self)]``; the same on every call."""

    @abstractmethod
    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        """One item.

        Returns:
            ``images`` uint8 [group, H, W, 3] RGB (clips: [group, T, H, W, 3]); ``fake`` and ``weight``
            float32 [group]; optionally ``mask`` float32 [group, h, w], and ``unreadable`` bool [group], where the
            picture could not be read, is black and has weight 0.
        """

    def name(self, item: int) -> str:
        """What to call an item in messages: the file that it was made from."""
        return f"item {item}"

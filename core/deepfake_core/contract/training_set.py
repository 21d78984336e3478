"""The samples that the training loop takes: epoch and item number decide each, so that a run can resume at any step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

Key = tuple[int, int]
"""Epoch and item number. Together with the recipe's seed they decide a sample, its augmentation included."""


@dataclass(frozen=True)
class Draw:
    """One item of a training set as it is drawn.

    Attributes:
        source: Source of its labelled samples, or the way in which its fake is made.
        fake: Class of each of its samples: 1 for fake.
        groups: Group of each of its samples, as a number.
        make: Function that returns its images, ``uint8 [group, H, W, 3]`` RGB, for detectors of clips
            ``[group, T, H, W, 3]``. Several threads may call it. It raises
            :class:`~deepfake_core.errors.InputError` where one cannot be read.
    """

    source: str
    fake: tuple[int, ...]
    groups: tuple[int, ...]
    make: Callable[[], NDArray[np.uint8]]


class TrainingSet(Dataset[dict[str, Tensor]]):
    """Training samples by epoch and item number; a set holds no state that changes and can be sent to other processes.

    Attributes:
        group: Number of samples in one item, such as 2 where a real face comes with its fake.
    """

    group: int = 1

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items in one epoch."""

    @abstractmethod
    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the item numbers of an epoch in the order of training, int64 [len(self)], equal on every call."""

    @abstractmethod
    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        """Return one item, ``group`` samples.

        Returns:
            ``images`` uint8 [group, H, W, 3] RGB, for detectors of clips [group, T, H, W, 3]; ``fake`` float32 [group]
            with 1 for fake; ``weight`` float32 [group]; optionally ``mask`` float32 [group, h, w] in [0, 1], where the
            fake was blended; optionally ``unreadable`` bool [group], which marks images that could not be read: they
            are black and have weight 0.
        """

    def grow(self, key: Key) -> None:
        """Give samples their full size from a key on, for sets that begin with small ones; it is called between reads.

        Args:
            key: Epoch and number of the first item in the order of the epoch.
        """

    def draws(self, most: int, *, plain: bool = False) -> Iterator[Draw]:
        """Yield some items of each source, from which is measured what tells the classes apart besides forgery.

        A set that yields none, as by default, is not measured.

        Args:
            most: Largest number of items of each source; of each class where an item holds one class only.
            plain: Whether the items are those of the data as the detector sees them: without degradation, matching and
                fakes that are made.
        """
        del most, plain
        yield from ()

    def name(self, item: int) -> str:
        """Return the name of an item for messages, such as the file that it was made from."""
        return f"item {item}"

"""Batches of a training set: which samples each optimiser step takes, and which of them could not be read."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import Key, TrainingSet
from deepfake_core.datasets.labels import some
from deepfake_core.errors import TrainingDataError
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.training.workers import batches

log = logging.getLogger("deepfake.training")


@dataclass(frozen=True)
class Part:
    """The samples of one forward pass in this process.

    Attributes:
        keys: Epoch and number of each item.
        tensors: Tensors ``[items, group, …]`` by name, as
            :meth:`~deepfake_core.contract.training_set.TrainingSet.__getitem__` describes them.
    """

    keys: list[Key]
    tensors: dict[str, Tensor]

    def on(self, device: torch.device) -> dict[str, Tensor]:
        """Copy the tensors to a device, without ``unreadable``; each becomes ``[N, …]`` with N = items · group."""
        return {
            name: value.flatten(0, 1).to(device, non_blocking=True)
            for name, value in self.tensors.items()
            if name != "unreadable"
        }

    def unreadable(self) -> list[int]:
        """Return the numbers of the items of which a sample could not be read."""
        marks = self.tensors.get("unreadable")
        if marks is None:
            return []
        return [item for (_, item), bad in zip(self.keys, marks.flatten(1).any(1).tolist(), strict=True) if bad]


class Feed(Protocol):
    """What gives a run its samples. The number of a step alone decides them, so that a run can start at any step."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimiser steps in which every sample is taken once."""

    def from_step(self, start: int, stop: int | None = None) -> Generator[list[Part]]:
        """Yield this process's parts of each step from ``start`` to ``stop - 1``, without end where it is ``None``.

        Nothing is made before it is asked for. Tensors may be on the host or on the device of the run; those on a GPU
        are made on the stream that is current when they are asked for. torch's own random numbers are left alone.
        Closing the generator ends the processes and threads that make samples.
        """

    def grow(self, step: int) -> None:
        """Give inputs their full size from a step on, for recipes that begin with small ones.

        It holds for the next :meth:`from_step`. A run that the clock ends has no number of steps beforehand: the
        training loop says when the time has come.
        """

    def note(self, part: Part, seen: list[int]) -> None:
        """Add the unreadable items of a part to those of this epoch in this process, ``seen``.

        Raises:
            TrainingDataError: The epoch has more unreadable items than the recipe allows.
        """

    def close_epoch(self, seen: list[int]) -> list[str]:
        """Return the names of the epoch's unreadable items over all processes, and empty ``seen``.

        Raises:
            TrainingDataError: All processes together have more unreadable items than the recipe allows.
        """


class Unreadables:
    """Count of the items that could not be read, with a limit for each epoch.

    Args:
        max_bad: Largest share of unreadable items.
        count: Number of items of which it is a share.
        name: Function that returns the name of an item for messages.
    """

    def __init__(self, max_bad: float, count: int, name: Callable[[int], str]) -> None:
        self._max_bad, self._count, self._name = max_bad, count, name

    def note(self, part: Part, seen: list[int]) -> None:
        """Add the unreadable items of a part to those of the epoch.

        Args:
            part: Samples of one forward pass.
            seen: Unreadable items of this epoch, which this method extends.

        Raises:
            TrainingDataError: The epoch has more unreadable items than the recipe allows.
        """
        seen += [item for item in dict.fromkeys(part.unreadable()) if item not in seen]
        self._check_limit(seen)

    def close_epoch(self, seen: list[int]) -> list[str]:
        """Return the names of the epoch's unreadable items over all processes, and start the next epoch with none.

        Args:
            seen: Unreadable items of this epoch in this process, which this method clears.

        Raises:
            TrainingDataError: All processes together have more unreadable items than the recipe allows.
        """
        items = sorted(set(gather_object(list(seen))))
        self._check_limit(items)
        seen.clear()
        names = self._names(items)
        if names:
            log.warning(
                "%d samples of this epoch could not be read and counted for nothing: %s", len(names), some(names)
            )
        return names

    def _check_limit(self, seen: list[int]) -> None:
        if len(seen) > self._max_bad * self._count:
            raise TrainingDataError(
                f"{len(seen)} of {self._count} samples could not be read in this epoch, more than "
                f"max_bad={self._max_bad:.3g} allows: {some(self._names(seen))}; repair or remove the files "
                "(dfbench data check finds them all), or raise max_bad"
            )

    def _names(self, items: list[int]) -> list[str]:
        return [self._name(item) for item in items]


class Batches(Unreadables):
    """The batches that loading processes make of a training set.

    The number of a step alone decides its samples, so that a run can start at any step.

    The last batch of an epoch is filled with items from the beginning of the epoch, so that all batches have the same
    size.

    Args:
        data: Training set.
        recipe: Recipe with the batch size, the accumulation, the workers and the limit on unreadable samples.
        accelerator: Accelerator of the run, each of whose processes takes its own share of every batch.

    Raises:
        TrainingDataError: The training set is empty, or the batch cannot be divided evenly among the processes.
    """

    def __init__(self, data: TrainingSet, recipe: TrainRecipe, accelerator: Accelerator) -> None:
        super().__init__(recipe.max_bad, len(data), data.name)
        self.data, self.recipe, self.accelerator = data, recipe, accelerator
        self.items = recipe.batch_size // data.group
        if len(data) == 0:
            raise TrainingDataError("there is nothing to train on: the training split is empty")
        if self.items % accelerator.num_processes or not self.items:
            raise TrainingDataError(
                f"batch_size={recipe.batch_size} does not give each of {accelerator.num_processes} processes the same "
                f"number of groups of {data.group}; choose a multiple of {data.group * accelerator.num_processes}"
            )
        self.per_epoch = -(-len(data) // self.items)
        self.steps_per_epoch = -(-self.per_epoch // recipe.accumulate)
        self._order = lru_cache(maxsize=1)(data.order)

    def _passes(self, step: int) -> int:
        """Return the number of forward passes of an optimiser step; the last step of an epoch may have fewer."""
        first = step % self.steps_per_epoch * self.recipe.accumulate
        return min(self.recipe.accumulate, self.per_epoch - first)

    def keys(self, step: int) -> list[list[Key]]:
        """Return the items of each forward pass of an optimiser step, over all processes."""
        epoch, number = divmod(step, self.steps_per_epoch)
        first = number * self.recipe.accumulate
        order: NDArray[np.int64] = self._order(epoch)
        passes = []
        for batch in range(first, first + self._passes(step)):
            places = np.arange(batch * self.items, (batch + 1) * self.items) % len(order)
            passes.append([(epoch, int(item)) for item in order[places]])
        return passes

    def from_step(self, start: int, stop: int | None = None) -> Generator[list[Part]]:
        """Yield this process's parts of each step from ``start`` to ``stop - 1``; worker processes make the samples."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        handed_out: deque[list[Key]] = deque()

        def sampler() -> Iterator[list[Key]]:
            for step in _numbers(start, stop):
                for keys in self.keys(step):
                    handed_out.append(keys[rank::processes])
                    yield handed_out[-1]

        made = batches(
            self.data,
            sampler(),
            allowed_threads() if self.recipe.workers < 0 else self.recipe.workers,
            pin_memory=self.accelerator.device.type == "cuda",
            awaited=lambda: self._names([item for _, item in handed_out[0]]),
        )
        with closing(made) as loader:
            for step in _numbers(start, stop):
                parts = []
                for _ in range(self._passes(step)):
                    tensors = next(loader)
                    parts.append(Part(handed_out.popleft(), tensors))
                yield parts

    def grow(self, step: int) -> None:
        """Give inputs their full size from a step on; it holds for the next :meth:`from_step`."""
        self.data.grow(self.keys(step)[0][0])


def _numbers(start: int, stop: int | None) -> Iterator[int]:
    return count(start) if stop is None else iter(range(start, stop))

"""The pairs of each step of a run, made on the device that trains on them."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import fields, is_dataclass, replace
from itertools import count
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import TrainingDataError
from deepfake_core.parallel import ordered_map
from deepfake_core.runtimes.torch import to_device
from deepfake_core.training.data.batches import Part, Unreadables
from deepfake_core.training.pairs.device.apply import device_pairs, rows_of
from deepfake_core.training.pairs.device.crops import Place, crops_on, free_memory
from deepfake_core.training.pairs.draws import Chunk
from deepfake_core.training.pairs.planner import Planner
from deepfake_core.training.recipes.stages import small_steps

log = logging.getLogger("deepfake.training")

LARGEST = 32
"""Most pairs of one chunk, which have one family and one choice of kernels."""

FEWEST = 4
"""Fewest chunks of a batch, so that a small batch is varied, too."""

PAIR_BYTES = 72 << 20
"""Memory that making one pair takes at most, in bytes."""

SHARE_FOR_PAIRS = 0.125
"""Largest share of the free memory of a device in which pairs are made at the same time."""

CACHED = 4
"""Most pairs that a CPU makes at the same time: its caches hold few pictures, and more are a third slower."""

_Tree = TypeVar("_Tree")


class DevicePairs(Unreadables):
    """Pairs by chunks: the seed, the number of the step and the number of the chunk in the step decide a chunk.

    A run that was resumed, or that has another number of processes, thus trains on the same pairs.

    An epoch has as many pairs as there are real faces, rounded up to whole batches.

    Args:
        planner: What draws the pairs.
        autoencoders: Trained autoencoders on the device, in the order of their indices.
        recipe: Recipe with the seed, the batch size, the accumulation and the size of early inputs.
        accelerator: Accelerator of the run, each of whose processes takes its own share of every batch.
        place: Where the crops are (:func:`~deepfake_core.training.pairs.device.crops.crops_on`).

    Raises:
        TrainingDataError: The batch cannot be divided evenly among the processes.
    """

    def __init__(
        self,
        planner: Planner,
        autoencoders: Sequence[nn.Module],
        recipe: TrainRecipe,
        accelerator: Accelerator,
        *,
        place: Place = "auto",
    ) -> None:
        self.planner, faces = planner, planner.source.faces
        self.autoencoders, self.recipe, self.device = autoencoders, recipe, accelerator.device
        rows = np.union1d(planner.real, planner.labelled.rows) if "labelled" in planner.shares else planner.real
        super().__init__(recipe.max_bad, len(rows), faces.store.origin)
        pairs, processes = recipe.batch_size // 2, accelerator.num_processes
        if pairs % processes:
            raise TrainingDataError(
                f"batch_size={recipe.batch_size} does not give each of {processes} processes the same number of pairs; "
                f"choose a multiple of {2 * processes}"
            )
        own = pairs // processes
        self._own = range(accelerator.process_index * own, (accelerator.process_index + 1) * own)
        self._sizes = [len(part) for part in np.array_split(range(pairs), chunks_of(pairs))]
        self._per_epoch = -(-len(self.planner.real) // pairs)
        self.steps_per_epoch = -(-self._per_epoch // recipe.accumulate)
        self.small_until = small_steps(recipe, self.steps_per_epoch)
        self.crops = crops_on(faces, rows, self.device, place)
        self.together, wanted = pairs_together(free_memory(self.device)), max(self._sizes)
        if self.together < wanted:
            log.info(
                "%d pairs are made at a time, not %d, because of the memory of %s", self.together, wanted, self.device
            )
        if self.device.type == "cpu":
            self.together = min(self.together, CACHED)

    def from_step(self, start: int, stop: int | None = None) -> Generator[list[Part]]:
        """Yield this process's parts of each step from ``start`` to ``stop - 1``, without end where it is ``None``.

        The tensors are on the device, but for ``unreadable``, which is on the host and only there where a crop could
        not be read. The crops of one step ahead are being read meanwhile.
        """
        try:
            with closing(self._ahead(count(start) if stop is None else range(start, stop))) as ahead:
                for step, passes in ahead:
                    epoch = step // self.steps_per_epoch
                    yield [self._part(epoch, chunks) for chunks in passes]
        finally:
            self.crops.close()

    def grow(self, step: int) -> None:
        """Give inputs their full size from a step on; it holds for the next :meth:`from_step`."""
        self.small_until = min(self.small_until, step)

    def chunks(self, step: int) -> list[list[Chunk]]:
        """Draw this process's chunks of each forward pass of a step; the last step of an epoch may have fewer passes.

        A chunk of which the process takes a part, or which the memory does not hold at once, is drawn as a whole and
        comes in parts.
        """
        size = self.recipe.pairs.small_size if step < self.small_until else self.planner.size
        passes, number = [], 0
        for _ in range(self._passes(step)):
            chunks, first = [], 0
            for n in self._sizes:
                begin, end = max(self._own.start - first, 0), min(self._own.stop - first, n)
                if begin < end:
                    rng = np.random.default_rng([self.recipe.seed, step, number])
                    drawn = self.planner.draw(rng, n, size=size)
                    starts = range(begin, end, self.together)
                    chunks += [part_of(drawn, slice(place, min(place + self.together, end))) for place in starts]
                first += n
                number += 1
            passes.append(chunks)
        return passes

    def _passes(self, step: int) -> int:
        first = step % self.steps_per_epoch * self.recipe.accumulate
        return min(self.recipe.accumulate, self._per_epoch - first)

    def _ahead(self, steps: Iterable[int]) -> Generator[tuple[int, list[list[Chunk]]]]:
        """Yield the chunks of each step once the crops of the next step are asked for.

        A thread draws them while the host queues the work of the device, for which it seldom needs Python.
        """
        before = None
        with closing(ordered_map(lambda step: (step, self.chunks(step)), steps, workers=1, ahead=2)) as drawn:
            for step, passes in drawn:
                self.crops.prepare([rows for chunks in passes for chunk in chunks for rows in rows_of(chunk)])
                if before is not None:
                    yield before
                before = step, passes
        if before is not None:
            yield before

    def _part(self, epoch: int, chunks: Sequence[Chunk]) -> Part:
        images, masks = [], []
        for chunk in chunks:
            pictures, cells = device_pairs(chunk, self.crops, self.autoencoders)
            images.append(pictures.view(2, len(chunk), *pictures.shape[1:]))
            masks.append(cells)
        mask = torch.cat(masks)
        rows, others = (np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("rows", "others"))
        bad = self.crops.unreadable(rows)
        named = np.where(self.crops.unreadable(others) & ~bad, others, rows)
        bad |= self.crops.unreadable(others)
        tensors = {
            "images": torch.cat(images, 1).transpose(0, 1),
            "fake": _halves(len(rows), self.device),
            "weight": torch.ones((len(rows), 2), device=self.device),
            "mask": torch.stack([torch.zeros_like(mask), mask], 1),
        }
        if bad.any():
            tensors["unreadable"] = torch.from_numpy(bad)[:, None].expand(-1, 2)
            tensors["weight"] = to_device(np.repeat(~bad[:, None], 2, 1).astype(np.float32), self.device)
        return Part([(epoch, int(row)) for row in named], tensors)


def chunks_of(pairs: int) -> int:
    """Return the number of chunks of a batch."""
    return max(-(-pairs // LARGEST), min(FEWEST, pairs))


def pairs_together(free: int) -> int:
    """Return how many pairs are made at the same time where some bytes of memory are free; 1 to :data:`LARGEST`."""
    return int(np.clip(SHARE_FOR_PAIRS * free // PAIR_BYTES, 1, LARGEST))


def part_of(draws: _Tree, places: slice | NDArray[np.intp]) -> _Tree:
    """Return some of n draws: a dataclass such as a chunk whose arrays, at any depth, have n rows."""

    def part(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{field.name: part(getattr(value, field.name)) for field in fields(value)})
        return value[places] if isinstance(value, np.ndarray) else value

    result: _Tree = part(draws)
    return result


def _halves(pairs: int, device: torch.device) -> Tensor:
    """Return the labels of pairs, ``float32 [pairs, 2]``: 0 and 1."""
    return torch.arange(2, dtype=torch.float32, device=device).expand(pairs, 2)

"""The stored crops of faces on a device: all of them in its memory, or each chunk's read when it is needed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfake_core.errors import InputError
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.runtimes.torch import to_device
from deepfake_core.training.pairs.faces import Faces

log = logging.getLogger("deepfake.training")

Place = Literal["auto", "resident", "streamed"]

SHARE_FOR_CROPS = 0.5
"""Largest share of the free memory of a device that crops take; the rest is for the training."""

_BLOCK = 64  # crops that are copied to the device together


class Crops(Protocol):
    """Square crops of faces that a device can take.

    Attributes:
        device: The device.
        side: Side of a crop in pixels.
    """

    device: torch.device
    side: int

    def fetch(self, rows: NDArray[np.intp]) -> Tensor:
        """Return the crops of n rows on the device, ``float32 [n, 3, side, side]`` RGB from 0 to 255.

        A crop that cannot be read is black.
        """

    def prepare(self, rows: Sequence[NDArray[np.intp]]) -> None:
        """Begin to read the crops of some calls of :meth:`fetch` that will follow."""

    def unreadable(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of n rows, which were fetched, could not be read, ``bool [n]``."""

    def close(self) -> None:
        """End the threads that read crops."""


def crops_on(faces: Faces, rows: NDArray[np.intp], device: torch.device, place: Place = "auto") -> Crops:
    """Return the crops of some rows for a device, and say in the log where they are.

    Args:
        faces: Faces.
        rows: Rows that are used, ``intp [n]`` in ascending order.
        device: Device that makes pairs.
        place: ``"resident"``: all crops in the memory of the device. ``"streamed"``: threads read each chunk's, one
            step ahead. ``"auto"``: resident where they take at most :data:`SHARE_FOR_CROPS` of the free memory.
    """
    needed, free = len(rows) * 3 * faces.side**2, free_memory(device)
    fits = needed <= SHARE_FOR_CROPS * free
    if place == "resident" or (place == "auto" and fits):
        log.info("%d crops take %.1f of %.1f GB that are free on %s", len(rows), needed / 1e9, free / 1e9, device)
        return Resident(faces, rows, device)
    log.info(
        "%d crops would take %.1f of %.1f GB that are free on %s: they are read for each step instead",
        len(rows), needed / 1e9, free / 1e9, device,
    )  # fmt: skip
    return Streamed(faces, device)


def free_memory(device: torch.device) -> int:
    """Return the bytes of memory that are free on a device: on a CPU, those that the system can give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)


class Resident:
    """Crops that all lie in the memory of a device, ``uint8 [n, 3, side, side]``.

    Args:
        faces: Faces, whose crops are read by threads, a bounded number at a time.
        rows: Rows that are used, ``intp [n]`` in ascending order.
        device: The device.
    """

    def __init__(self, faces: Faces, rows: NDArray[np.intp], device: torch.device) -> None:
        self.device, self.side, self.rows = device, faces.side, rows
        self.pixels = torch.empty((len(rows), 3, self.side, self.side), dtype=torch.uint8, device=device)
        self._bad = np.zeros(len(rows), bool)
        with closing(ordered_map(_Reader(faces), rows.tolist(), workers=allowed_threads())) as crops:
            block: list[NDArray[np.uint8] | None] = []
            for place, crop in enumerate(track(crops, "loading faces", total=len(rows), unit="faces")):
                self._bad[place] = crop is None
                block.append(crop)
                if len(block) == _BLOCK or place == len(rows) - 1:
                    self.pixels[place + 1 - len(block) : place + 1] = _copied(block, self.side, device)
                    block = []

    def fetch(self, rows: NDArray[np.intp]) -> Tensor:
        """Return the crops of n rows (:meth:`Crops.fetch`)."""
        return self.pixels.index_select(0, to_device(np.searchsorted(self.rows, rows), self.device)).float()

    def prepare(self, rows: Sequence[NDArray[np.intp]]) -> None:
        """Do nothing: the crops are there."""

    def unreadable(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of n rows could not be read, ``bool [n]``."""
        return self._bad[np.searchsorted(self.rows, rows)]

    def close(self) -> None:
        """Do nothing: no threads are left."""


class Streamed:
    """Crops that threads read when they are needed.

    Args:
        faces: Faces.
        device: The device.
    """

    def __init__(self, faces: Faces, device: torch.device) -> None:
        self.device, self.side = device, faces.side
        self._read = _Reader(faces)
        self._bad: set[int] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._begun: dict[bytes, list[Future[NDArray[np.uint8] | None]]] = {}

    def fetch(self, rows: NDArray[np.intp]) -> Tensor:
        """Return the crops of n rows (:meth:`Crops.fetch`)."""
        self.prepare([rows])
        crops = [future.result() for future in self._begun.pop(rows.tobytes())]
        self._bad.update(int(row) for row, crop in zip(rows, crops, strict=True) if crop is None)
        # In the same order in memory as resident ones: kernels round by it.
        return _copied(crops, self.side, self.device).to(torch.float32, memory_format=torch.contiguous_format)

    def prepare(self, rows: Sequence[NDArray[np.intp]]) -> None:
        """Begin to read crops (:meth:`Crops.prepare`)."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(allowed_threads(), thread_name_prefix="deepfake-crops")
        for some in rows:
            if some.tobytes() not in self._begun:
                self._begun[some.tobytes()] = [self._pool.submit(self._read, int(row)) for row in some]

    def unreadable(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of n rows, which were fetched, could not be read, ``bool [n]``."""
        return np.isin(rows, list(self._bad)) if self._bad else np.zeros(len(rows), bool)

    def close(self) -> None:
        """End the threads, and forget what they began."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        self._begun.clear()


class _Reader:
    """Reader of single crops for threads; ``None`` for one that cannot be read."""

    def __init__(self, faces: Faces) -> None:
        self.faces = faces

    def __call__(self, row: int) -> NDArray[np.uint8] | None:
        try:
            return self.faces.pixels(row)
        except InputError:  # the feed counts and names it
            return None


def _copied(crops: Sequence[NDArray[np.uint8] | None], side: int, device: torch.device) -> Tensor:
    """Copy crops ``uint8 [side, side, 3]`` to a device: ``uint8 [n, 3, side, side]``; missing ones are black."""
    together = torch.empty((len(crops), side, side, 3), dtype=torch.uint8, pin_memory=device.type == "cuda")
    pixels = together.numpy()
    for place, crop in enumerate(crops):
        pixels[place] = 0 if crop is None else crop
    return together.to(device, non_blocking=True).permute(0, 3, 1, 2)

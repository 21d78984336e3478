"""Processes that make training samples: how they start, how samples come from them, and what to say if they fail."""

from __future__ import annotations

import io
import logging
import mmap
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from deepfake_core.contract.training_set import Key, TrainingSet
from deepfake_core.datasets.labels import some
from deepfake_core.errors import DeepfakeError, TrainingDataError

log = logging.getLogger("deepfake.training")

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the place that Linux has for it
"""File system through which processes share tensors; containers often give it 64 MB."""
NOTICE_S = 60
"""Seconds after which, again and again, a line says what the training waits for."""
LIMIT_S = 1800
"""Seconds after which a loading process that gives no samples ends the run."""
_LOOK_S = 5  # after which it is looked whether the processes are still there
_LOCKS = 3  # that torch needs for each process, and as many for about three further parts
GUARD = 'if __name__ == "__main__":'
FEWER = "use fewer loading processes (--set workers=2) or none (--set workers=0); --resume takes these settings, too"
_COPIED = "not in shared memory"


def start_method() -> str:
    """Return how loading processes start: as the program chose, else by ``fork`` on Linux, else as the system has it.

    A fork starts at once and shares memory. It is safe on Linux: a loading process uses neither OpenMP's threads nor
    OpenCV's, nor a GPU. Elsewhere it is not.
    """
    default = multiprocessing.get_all_start_methods()[0]
    chosen = multiprocessing.get_start_method(allow_none=True)
    if chosen not in (None, default):
        return str(chosen)
    return "fork" if sys.platform == "linux" else default


def end_while_starting() -> None:
    """End a process that is only being started, which runs a program again whose main part has no guard.

    The process that starts it says what is missing (:func:`worker_errors`).
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)


def batches(
    data: TrainingSet,
    keys: Iterable[list[Key]],
    workers: int,
    *,
    pin_memory: bool,
    awaited: Callable[[], Sequence[str]],
) -> Generator[dict[str, Tensor]]:
    """Yield one batch of tensors ``[items, group, …]`` for each list of keys, in their order.

    Args:
        data: Training set.
        keys: Keys of each batch.
        workers: Number of processes that make the samples; 0 makes them in this one.
        pin_memory: Whether to copy batches to memory from which a GPU takes them faster.
        awaited: Function that returns the names of the samples of the next batch, for messages.

    Raises:
        TrainingDataError: A sample cannot be made, or the data cannot be sent to the processes.
        DeepfakeError: The processes cannot be started, have ended, or give nothing for :data:`LIMIT_S` seconds.
    """
    end_while_starting()
    method = start_method() if workers and _can_start(workers) else None
    workers = 0 if method is None else workers
    if method not in (None, "fork"):
        _check_program(str(method))
    with worker_errors():
        loader = iter(
            DataLoader(
                _Items(data),
                batch_sampler=keys,  # torch takes any iterable
                num_workers=workers,
                collate_fn=_collate,
                pin_memory=pin_memory,
                prefetch_factor=4 if workers else None,
                multiprocessing_context=method,
                timeout=_LOOK_S if workers else 0,
            )
        )
        told = False
        while True:
            batch = _next(loader, awaited)
            if batch is None:
                return
            if isinstance(batch, str):
                raise TrainingDataError(batch)
            if batch.pop(_COPIED, None) is not None and not told:
                told = True
                log.warning(
                    "%s has too little room for batches of this size, so they are copied, which is slower; give it "
                    "more (docker run --shm-size=1g), or use fewer loading processes (--set workers=2)",
                    SHARED_MEMORY,
                )
            yield {
                name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
                for name, value in batch.items()
            }


def _next(loader: Iterator[Any], awaited: Callable[[], Sequence[str]]) -> Any:
    """Return the next batch, or ``None`` after the last one; say what it waits for, and end after a limit."""
    started, told = time.monotonic(), 0.0
    while True:
        try:
            return next(loader, None)
        except RuntimeError as error:
            if "timed out after" not in str(error):
                raise
        waited = time.monotonic() - started
        if waited < told + NOTICE_S:
            continue
        told, names = waited, some(list(awaited()))
        if waited >= LIMIT_S:
            raise DeepfakeError(
                f"a data-loading process has not answered for {waited:.0f} s; it makes {names}; look at these files, "
                f"or {FEWER}"
            )
        log.warning("waiting for a data-loading process since %.0f s; it makes %s", waited, names)


@contextmanager
def worker_errors() -> Iterator[None]:
    """Within the block, replace errors about the loading processes by one line that names a remedy.

    Raises:
        DeepfakeError: The processes cannot be started, or one has ended.
    """
    try:
        yield
    except RuntimeError as error:
        # torch raises this wherever the training is when a process ends.
        if not str(error).startswith("DataLoader worker"):
            raise
        raise DeepfakeError(_ended(str(error).partition(". ")[0])) from None
    except (OSError, EOFError) as error:
        if _is_of_a_pipe(error):
            raise DeepfakeError(_ended(f"it could not be started: {str(error) or type(error).__name__}")) from None
        raise


def _can_start(workers: int) -> bool:
    """Return whether processes can share their locks, which are in the shared memory; log one line if they cannot."""
    try:
        [multiprocessing.Lock() for _ in range(_LOCKS * (workers + 3))]
    except OSError as error:
        log.warning(
            "no data-loading process can be started (%s: %s); this process makes the samples, which is slower",
            SHARED_MEMORY,
            error.strerror,
        )
        return False
    return True


def _check_program(method: str) -> None:
    """Refuse a program that processes which start anew cannot read.

    Raises:
        DeepfakeError: The program comes from standard input.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is None and file is not None and not Path(file).exists():
        raise DeepfakeError(
            f"with the start method {method!r}, data-loading processes read the program again, and {file} is no file; "
            f"write it to a file with {GUARD} before what trains, or use no loading processes (workers=0)"
        )


def _ended(reason: str) -> str:
    method = start_method()
    guard = (
        "" if method == "fork" else f"with the start method {method!r}, write {GUARD} before what trains; otherwise "
    )
    return f"a data-loading process has ended ({reason.strip()}): {guard}{FEWER}"


def _is_of_a_pipe(error: BaseException) -> bool:
    trace, names = error.__traceback__, set()
    while trace is not None:
        names.add(trace.tb_frame.f_globals.get("__name__", "").partition(".")[0])
        trace = trace.tb_next
    return "multiprocessing" in names


class _Items(Dataset[Any]):
    """Training set as the loading processes have it: an error in one of them becomes the text of a batch."""

    def __init__(self, data: TrainingSet) -> None:
        self.data, self.failed = data, ""

    def __getitems__(self, keys: list[Key]) -> list[dict[str, Tensor]] | str:
        if self.failed:
            return self.failed
        try:
            return [self.data[key] for key in keys]
        except DeepfakeError as error:
            if get_worker_info() is None:
                raise
            return str(error)

    def __getstate__(self) -> bytes:
        stream = io.BytesIO()
        try:
            _Pickler(stream).dump(self.data)
        except Exception as error:  # pickle raises any error of the objects
            raise TrainingDataError(_unsendable(error)) from error
        return stream.getvalue()

    def __setstate__(self, pickled: bytes) -> None:
        self.failed = ""
        try:
            self.data = ForkingPickler.loads(pickled)
        except Exception as error:  # noqa: BLE001 - likewise; the training process raises it
            self.failed = _unsendable(error)


def _unsendable(error: Exception) -> str:
    return (
        f"the training data cannot be sent to data-loading processes ({str(error) or type(error).__name__}); define "
        "their classes in a module that can be imported, or set workers=0"
    )


class _Pickler(ForkingPickler):
    """Pickler that sends the place of an array which lies in a file, rather than its content."""

    def reducer_override(self, value: Any) -> Any:
        place = _place(value) if isinstance(value, np.ndarray) else None
        return NotImplemented if place is None else (_mapped, place)


def _place(array: NDArray[Any]) -> tuple[Any, ...] | None:
    """Return file, type, offset in bytes and shape of an array that is a contiguous, read-only part of a memory map."""
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not (isinstance(root, np.memmap) and isinstance(root.base, mmap.mmap)) or root.filename is None:
        return None
    if array.flags.writeable or not array.flags.c_contiguous or array.size == 0 or array.dtype.hasobject:
        return None
    first, here = (view.__array_interface__["data"][0] for view in (root, array))
    return str(root.filename), array.dtype, root.offset + here - first, array.shape


def _mapped(path: str, dtype: Any, offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.memmap(path, dtype, "r", offset, shape)


def _collate(items: list[dict[str, Tensor]] | str) -> Any:
    """Stack the items of a batch: in shared memory if it has the room, else in memory that is copied."""
    if isinstance(items, str):
        return items
    worker = get_worker_info()
    if worker is None or _free_bytes() >= (worker.num_workers + 1) * sum(_size(item) for item in items):
        try:
            return default_collate(items)
        except RuntimeError as error:  # there is no shared memory, or another program took it
            if worker is None or "shared memory" not in str(error):
                raise
    return {**{name: torch.stack([item[name] for item in items]).numpy() for name in items[0]}, _COPIED: True}


def _size(item: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in item.values())


def _free_bytes() -> float:
    """Return the free bytes of the shared memory; infinite where it is no file system."""
    try:
        state = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return float("inf")
    return state.f_bavail * state.f_frsize

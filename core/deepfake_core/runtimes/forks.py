"""What has to be made anew in a process that was forked: a fork copies memory, but no threads, and locks as they are.

Sessions of ONNX Runtime and OpenVINO wait forever for threads that the child does not have, also when they are freed.
Objects that hold such state register here. In the child, each of them forgets it, and makes it anew at its next use.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet


class Holder(Protocol):
    """Object with state that does not survive a fork."""

    def after_fork(self) -> None:
        """Forget that state; called in the child, before anything else runs there."""


FORKED_GPU = (
    "this process was forked from one that used the GPU",
    "load the detector in the process that judges, start processes by spawn",
)
"""Reason and remedy where a detector on a GPU is used in a process that was forked."""

_holders: WeakSet[Holder] = WeakSet()


def renew_after_fork(holder: Holder) -> None:
    """Call ``holder.after_fork`` in every process that is forked from now on, as long as the object exists."""
    _holders.add(holder)


def call_after_fork(function: Callable[[], None]) -> None:
    """Call a function of a module in every process that is forked from now on; nothing where there is no fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def never_free(native: Any) -> None:
    """Keep an object until the process ends, and do not free it even then: its destructor would wait for threads."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(native))


@contextmanager
def fork_waits() -> Iterator[None]:
    """Let a fork by another thread wait until this block ends.

    OpenVINO has locks that nobody outside of it can renew: a fork while a thread holds one leaves it locked forever in
    the child. Its own threads hold them for longer than an inference lasts, so the fork also waits until they sleep.
    """
    global _used
    thread = threading.get_ident()
    with _gate:
        _used = True
        _inside[thread] += 1
    try:
        yield
    finally:
        with _gate:
            _inside[thread] -= 1
            if _inside[thread] <= 0:  # below 0 in a child that was forked within the block
                del _inside[thread]
            _gate.notify_all()


_gate = threading.Condition()
_inside: Counter[int] = Counter()
"""For each thread that is in blocks of :func:`fork_waits`, their number."""
_used = False
"""Whether a block has begun: only then are there threads of OpenVINO to wait for."""
_LOOK_EVERY_S, _LONGEST_S = 0.002, 2.0


def _close_gate() -> None:
    _gate.acquire()
    _gate.wait_for(lambda: not _inside.keys() - {threading.get_ident()})
    if _used:
        _wait_until_native_threads_sleep()


def _wait_until_native_threads_sleep() -> None:
    """Wait until no thread that Python did not start runs or is ready to run, so that none holds a lock.

    On a busy machine a thread may wait long for a processor while it holds one. Other libraries have threads, too, so
    that the wait is limited.
    """
    end, quiet = time.monotonic() + _LONGEST_S, 0
    while quiet < 3 and time.monotonic() < end:
        time.sleep(_LOOK_EVERY_S)
        quiet = 0 if _native_thread_runs() else quiet + 1


def _native_thread_runs() -> bool:
    known = {thread.native_id for thread in threading.enumerate()}
    for file in Path("/proc/self/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # the thread has ended
            if int(file.parent.name) not in known and file.read_text().rpartition(")")[2].split()[0] in "RD":
                return True
    return False


def _renew() -> None:
    global _gate
    _gate = threading.Condition()
    _inside.clear()
    for holder in list(_holders):
        holder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_gate, after_in_parent=lambda: _gate.release(), after_in_child=_renew)

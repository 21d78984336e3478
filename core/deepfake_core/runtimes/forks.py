"""What has to be made anew in a process that was forked: a fork copies memory, but no threads, and locks as they are.

Sessions of ONNX Runtime and OpenVINO wait forever for threads that the child does not have, also when they are freed.
Objects that hold such state register here. In the child, each of them forgets it, and makes it anew at its next use.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
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


def _renew() -> None:
    for holder in list(_holders):
        holder.after_fork()


call_after_fork(_renew)

"""Stopping a run by Ctrl-C or SIGTERM without losing the step that is being computed."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from accelerate import Accelerator

log = logging.getLogger("deepfake.training")


@contextmanager
def stop_requests(accelerator: Accelerator) -> Iterator[Callable[[], bool]]:
    """Within the block, note SIGINT and SIGTERM instead of ending at once; a second signal ends the process.

    Several processes must stop together, which their launcher ensures, and only the main thread can receive signals:
    with several processes or in another thread, the signals are left as they are.

    Yields:
        A function that returns whether the process has been asked to stop.
    """
    asked: list[int] = []
    if accelerator.num_processes > 1 or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        log.info("stopping after this step; once more to stop at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

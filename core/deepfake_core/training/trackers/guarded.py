"""Several trackers as one, guarded so that none of them can end training."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from deepfake_core.training.trackers.base import Ending, Tracker

log = logging.getLogger("deepfake.training")

RETRY_S = 60.0
"""How long a tracker that failed is not called again, in seconds."""

_MAX_WAITING = 20_000  # calls that are kept for a tracker that failed
_MAX_TRIES = 5  # of one call


class Trackers(Tracker):
    """Several trackers as one, none of which can end training.

    A tracker that fails is warned about once. The calls that it missed are kept and repeated with a later call, a
    minute after the failure at the earliest, and when the run ends at the latest.

    Args:
        each: Name → tracker.
    """

    def __init__(self, each: Mapping[str, Tracker]) -> None:
        self._each = [_Guarded(name, tracker) for name, tracker in each.items()]

    def start(self, settings: Mapping[str, Any], step: int = 0) -> None:
        for guarded in self._each:
            guarded.call("start", dict(settings), step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for guarded in self._each:
            guarded.call("log", step, dict(values))

    def flush(self) -> None:
        for guarded in self._each:
            guarded.call("flush")

    def close(self, ending: Ending) -> None:
        for guarded in self._each:
            guarded.retry_at = 0.0
            guarded.call("close", ending)


class _Guarded:
    """A tracker whose errors are caught; its calls are kept in order until they succeed."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker = name, tracker
        self.waiting: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=_MAX_WAITING)
        self.begin: tuple[Any, ...] | None = None
        self.retry_at = 0.0
        self.failures = 0
        self.warned = False

    def call(self, method: str, *arguments: Any) -> None:
        if method == "start":
            self.begin = arguments  # kept apart from the queue, which may drop its oldest calls
        elif method != "flush" or not self.waiting:
            self.waiting.append((method, arguments))
        if time.monotonic() < self.retry_at:
            return
        try:
            if self.begin is not None:
                self.tracker.start(*self.begin)
                self.begin = None
            while self.waiting:
                method, arguments = self.waiting[0]
                getattr(self.tracker, method)(*arguments)
                self.waiting.popleft()
                self.failures = 0
        except Exception as error:  # noqa: BLE001 - a foreign library and a network; training must go on
            self.retry_at = time.monotonic() + RETRY_S
            self.failures += 1
            if self.begin is None and self.failures >= _MAX_TRIES:  # the tracker may refuse this one value for ever
                self.waiting.popleft()
                self.failures = 0
            if not self.warned:
                text = (str(error) or type(error).__name__).splitlines()[0]
                text = re.sub(r"//[^/\s]*@", "//", text)  # user name and password of an address
                log.warning("tracking by %s failed (%s); training goes on without it", self.name, text)
            self.warned = True

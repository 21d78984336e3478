"""An open loop of requests: a request counts from the moment when it was due, even if the one before was unanswered.

Counting from the moment when it is taken up would leave out the queue, which is most of the wait under load.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import numpy as np


def arrivals_s(rate: float, count: int, seed: int) -> list[float]:
    """Return when ``count`` requests are due, in s from the start: Poisson arrivals of ``rate`` per second."""
    return list(accumulate(np.random.default_rng(seed).exponential(1 / rate, count).tolist()))


def respond(
    call: Callable[[], object],
    due_s: Sequence[float],
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[float]:
    """Serve requests one at a time, in their order; yield the time from when each was due to its answer, in ms.

    A request is served when its time is asked for, so the caller must ask for the next one at once.

    Args:
        call: Function that serves one request.
        due_s: Times at which the requests are due, in s from now, ascending.
        clock: Function that returns the time in s, from any origin.
        sleep: Function that waits for so many seconds.
    """
    start = clock()
    for due in due_s:
        early = start + due - clock()
        if early > 0:
            sleep(early)
        call()
        yield (clock() - start - due) * 1e3

"""Wall times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def timed_ms(call: Callable[[], object]) -> float:
    """Wall time of one call, in ms."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def medians_ms(calls: Mapping[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median wall time of each call in ms, taken in turns, so that a disturbance meets all of them.

    In its turn each is called twice and timed the second time: what the one before left in the caches does not count.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            call()
            samples[name].append(timed_ms(call))
    return {name: statistics.median(times) for name, times in samples.items()}

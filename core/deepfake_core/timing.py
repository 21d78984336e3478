"""Wall times: of one call, of calls that take turns, and of the stages of a program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


def timed_ms(call: Callable[[], object]) -> float:
    """Return the wall time of one call in ms."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def medians_ms(calls: Mapping[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Return the median wall time of each call in ms; the calls take turns, so that a disturbance meets all of them.

    In its turn each is called twice and timed the second time: what the call before left in the caches does not count.
    """
    import statistics  # few callers need it, and judging a picture does not

    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            call()
            samples[name].append(timed_ms(call))
    return {name: statistics.median(times) for name, times in samples.items()}


class Stages:
    """Time spent in each stage of a program.

    Args:
        *names: Stages that are listed even if they are never entered; others are added when they are entered first.

    Attributes:
        spent_ms: Stage → time in it so far, in ms.
    """

    def __init__(self, *names: str) -> None:
        self.spent_ms: dict[str, float] = dict.fromkeys(names, 0.0)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage, also where the block ends in an error."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent_ms[stage] = self.spent_ms.get(stage, 0.0) + (time.perf_counter() - start) * 1e3

"""Where time goes, by stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stages:
    """Milliseconds by stage, in the order in which the stages were first entered.

    Attributes:
        spent_ms: Stage → time in it so far.
    """

    def __init__(self) -> None:
        self.spent_ms: dict[str, float] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the block's time to a stage; also where it ends in an error."""
        start = perf_counter()
        try:
            yield
        finally:
            self.spent_ms[stage] = self.spent_ms.get(stage, 0.0) + (perf_counter() - start) * 1e3

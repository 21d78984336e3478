"""Repeated timing of calls, and percentiles and noise of the times."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from deepfake_core.timing import timed_ms

ENOUGH_S = 20.0
"""Time in s after which few slow calls are enough."""
FEW = 5
"""Number of slow calls that are enough."""
BLOCKS = 3
"""Parts of each steady-state measurement; parts of several measurements alternate, to meet the same disturbances."""
NOISE = (
    f"range of the medians of {BLOCKS} blocks, which alternate with what else is measured, over the median of all; "
    "iqr: interquartile range over the median"
)


def sample_ms(call: Callable[[], object], seconds: float, minimum: int = 5) -> list[float]:
    """Return wall times of repeated calls in ms, made until ``seconds`` have passed and at least ``minimum`` times.

    Of calls that take seconds each, :data:`FEW` are enough once they took :data:`ENOUGH_S`.
    """
    samples: list[float] = []
    start = time.perf_counter()
    while len(samples) < minimum or time.perf_counter() - start < seconds:
        if len(samples) >= FEW and time.perf_counter() - start > max(seconds, ENOUGH_S):
            break
        samples.append(timed_ms(call))
    return samples


def noise(name: str, blocks: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the noise of a figure: ``{name}_noise`` between blocks and ``{name}_iqr`` within, see :data:`NOISE`.

    Both are shares of the median, without a unit; the unit at the end of ``name`` is left out.

    Args:
        name: Name of the figure.
        blocks: Samples of each block.
    """
    stem = name.removesuffix("_ms")
    together = np.concatenate(blocks)
    low, middle, high = np.percentile(together, (25, 50, 75))
    medians = [np.median(block) for block in blocks]
    return {
        f"{stem}_noise": float((max(medians) - min(medians)) / middle),
        f"{stem}_iqr": float((high - low) / middle),
    }


def percentiles(name: str, samples: list[float]) -> dict[str, float]:
    """Return ``{name}_p50``, ``_p90``, ``_p95`` and ``_p99`` of the samples."""
    values = np.percentile(samples, (50, 90, 95, 99))
    return {f"{name}_p{rank}": float(value) for rank, value in zip((50, 90, 95, 99), values, strict=True)}

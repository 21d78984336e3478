"""Clocks and percentiles that the speed scenarios share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from deepfake_bench.records.dataset import DATA
from deepfake_core.timing import timed_ms

PICTURE = "one 1920×1080 JPEG with one face"
ENOUGH_S = 20.0
FEW = 5
BLOCKS = 3
"""Parts of each steady-state measurement; those of several measurements alternate, to meet the same disturbances."""
NOISE = (
    f"range of the medians of {BLOCKS} blocks, which alternate with what else is measured, over the median of all; "
    "iqr: interquartile range over the median"
)


def write_picture(folder: Path) -> Path:
    """Write the picture that latency is measured on: the portrait, 1080 pixels high, on a 1920 × 1080 canvas."""
    with Image.open(DATA / "portrait.jpg") as portrait:
        canvas = Image.new("RGB", (1920, 1080), (96, 96, 104))
        canvas.paste(portrait.resize((1080, 1080), Image.Resampling.BICUBIC), (420, 0))
    target = folder / "portrait-1080p.jpg"
    canvas.save(target, quality=90)
    return target


def sample_ms(call: Callable[[], object], seconds: float, minimum: int = 5) -> list[float]:
    """Wall times of repeated calls in ms, until ``seconds`` have passed and at least ``minimum`` were made.

    Calls that take seconds each are not made as often: :data:`FEW` of them are enough once they took :data:`ENOUGH_S`.
    """
    samples: list[float] = []
    start = time.perf_counter()
    while len(samples) < minimum or time.perf_counter() - start < seconds:
        if len(samples) >= FEW and time.perf_counter() - start > max(seconds, ENOUGH_S):
            break
        samples.append(timed_ms(call))
    return samples


def noise(name: str, blocks: Sequence[Sequence[float]]) -> dict[str, float]:
    """How far the figure can be trusted: ``{name}_noise`` between blocks and ``{name}_iqr`` within, see :data:`NOISE`.

    Both are shares of the median, without a unit; a unit at the end of ``name`` is left out.
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
    """``{name}_p50``, ``_p90``, ``_p95`` and ``_p99`` of the samples."""
    values = np.percentile(samples, (50, 90, 95, 99))
    return {f"{name}_p{rank}": float(value) for rank, value in zip((50, 90, 95, 99), values, strict=True)}

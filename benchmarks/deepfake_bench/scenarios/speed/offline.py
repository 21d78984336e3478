"""Throughput: the network over batch sizes, and files through the whole pipeline."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.speed.energy import Energy
from deepfake_bench.scenarios.speed.memory import peak_rss_mb
from deepfake_bench.scenarios.speed.portrait import PICTURE, network_input, write_picture
from deepfake_bench.scenarios.speed.sampling import BLOCKS, NOISE, noise, sample_ms
from deepfake_core.handle.predictor import Predictor
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_core.timing import timed_ms

BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def measure(detector: Predictor, job: Job) -> ScenarioResult:
    """Measure the rate at the best batch size, by its median time, and the rate of files through ``stream``.

    Batches grow while one is expected to take less than half of the measuring time: larger batches of a large network
    need much time and memory and show nothing new.
    """
    blocks = _batches_ms(detector, job.seconds)
    rates = _per_s(blocks)
    best = max(rates, key=rates.__getitem__)
    energy = Energy()
    count, file_blocks = _files_ms(detector, job.seconds, energy)
    files_per_s = 1e3 / float(np.median(list(chain.from_iterable(file_blocks))))
    return ScenarioResult(
        metrics={
            "images_per_s": rates[best],
            "best_batch": best,
            **{f"images_per_s_batch_{size}": rate for size, rate in rates.items()},
            "files_per_s": files_per_s,
            **noise("images", blocks[best]),
            **noise("files", file_blocks),
            **cost(job, detector.runtime.device, {"images": rates[best], "files": files_per_s}),
            **energy.per("file", count),
            "peak_rss_mb": peak_rss_mb(),
        },
        samples={
            **{f"batch_{size}_ms": list(chain.from_iterable(parts)) for size, parts in blocks.items()},
            "file_ms": list(chain.from_iterable(file_blocks)),
        },
        conditions={
            "images_per_s": "from uint8 crops, or clips, to logits; decoding, face finder and crop not included",
            "batch": f"up to {max(rates)}: larger ones would take more than {job.seconds / 2:g} s each"
            if max(rates) < BATCH_SIZES[-1]
            else f"up to {max(rates)}",
            "files_per_s": f"through stream(), {PICTURE} again and again; everything included; median of {BLOCKS} "
            f"streams of {count // BLOCKS} files",
            "noise": NOISE,
            **energy.conditions(),
            **_price(job),
        },
    )


def _batches_ms(detector: Predictor, seconds: float) -> dict[int, list[list[float]]]:
    """Return times of whole batches in ms by their size, in blocks; the first block decides how large they get."""
    cuts = network_input(detector)
    share = seconds / len(BATCH_SIZES) / BLOCKS
    runs: dict[int, Callable[[], object]] = {}
    blocks: dict[int, list[list[float]]] = {}
    for size in BATCH_SIZES:
        if runs and size / max(_per_s(blocks).values()) > seconds / 2:
            break
        runs[size] = partial(detector.score, *(np.repeat(cut, size, axis=0) for cut in cuts))
        runs[size]()
        blocks[size] = [sample_ms(runs[size], share, minimum=1)]
    for _ in range(BLOCKS - 1):
        for size, run in runs.items():
            blocks[size].append(sample_ms(run, share, minimum=1))
    return blocks


def _per_s(blocks: dict[int, list[list[float]]]) -> dict[int, float]:
    """Return images per second at each batch size, by the median time of a batch."""
    return {size: size * 1e3 / float(np.median(list(chain.from_iterable(parts)))) for size, parts in blocks.items()}


def _files_ms(detector: Predictor, seconds: float, energy: Energy) -> tuple[int, list[list[float]]]:
    """Return the number of files, and the mean time of a file in ms in each of :data:`BLOCKS` streams."""
    with tempfile.TemporaryDirectory() as folder:
        picture = write_picture(Path(folder))
        once_s = timed_ms(lambda: detector.predict(picture)) / 1e3
        count = max(4, int(seconds / BLOCKS / once_s))

        def score_all() -> None:
            for _ in detector.stream([picture] * count):
                pass

        with energy:
            blocks = [[timed_ms(score_all) / count] for _ in range(BLOCKS)]
        return count * BLOCKS, blocks


def cost(job: Job, device: str, per_s: dict[str, float]) -> dict[str, float]:
    """Return ``cost_per_million_{what}`` at each rate, in the currency of the price (experimental).

    There is none on an accelerator, which the price does not cover.
    """
    if job.price_per_core_hour is None or not device.startswith("cpu"):
        return {}
    hourly = job.price_per_core_hour * (job.threads or allowed_threads())
    return {f"cost_per_million_{what}": hourly * 1e6 / (rate * 3600) for what, rate in per_s.items()}


def _price(job: Job) -> dict[str, str]:
    if job.price_per_core_hour is None:
        return {}
    cores = job.threads or allowed_threads()
    return {
        "cost_per_million": f"{cores} cores at {job.price_per_core_hour:g} an hour each, in the currency of that "
        "price; none on an accelerator, which that price does not cover"
    }

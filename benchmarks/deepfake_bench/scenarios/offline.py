"""Throughput when there is plenty of work: the network over batch sizes, and files through the whole pipeline."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from deepfake_bench.jobs import Job
from deepfake_bench.machine import peak_rss_mb
from deepfake_bench.scenarios import Outcome
from deepfake_bench.scenarios._timing import PICTURE, sample_ms, timed_ms, write_picture
from deepfake_bench.scenarios.single_stream import network_input
from deepfake_core.loaded import LoadedDetector

BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def measure(detector: LoadedDetector, job: Job) -> Outcome:
    """The best batch size by its median time, and the rate of files through ``stream``.

    Batches grow while one is expected to take less than the measuring time: what a large network needs for more, in
    time and in memory, shows nothing new.
    """
    cuts = network_input(detector)
    rates: dict[int, float] = {}
    samples: dict[str, list[float]] = {}
    for size in BATCH_SIZES:
        if rates and size / max(rates.values()) > job.seconds:
            break
        batch = [np.repeat(cut, size, axis=0) for cut in cuts]
        detector.score(*batch)
        taken = sample_ms(partial(detector.score, *batch), job.seconds / len(BATCH_SIZES), minimum=2)
        rates[size] = size * 1e3 / float(np.median(taken))
        samples[f"batch_{size}_ms"] = taken
    best = max(rates, key=rates.__getitem__)
    return Outcome(
        metrics={
            "images_per_s": rates[best],
            "best_batch": best,
            **{f"images_per_s_batch_{size}": rate for size, rate in rates.items()},
            "files_per_s": _files_per_s(detector, job.seconds),
            "peak_rss_mb": peak_rss_mb(),
        },
        samples=samples,
        conditions={
            "images_per_s": "from uint8 crops, or clips, to logits; decoding, face finder and crop not included",
            "batch": f"up to {max(rates)}: larger ones would take more than {job.seconds:g} s each"
            if max(rates) < BATCH_SIZES[-1]
            else f"up to {max(rates)}",
            "files_per_s": f"through stream(), {PICTURE} again and again; everything included",
        },
    )


def _files_per_s(detector: LoadedDetector, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        picture = write_picture(Path(folder))
        once_s = timed_ms(lambda: detector.predict(picture)) / 1e3
        count = max(4, int(seconds / once_s))
        start = time.perf_counter()
        for _ in detector.stream([picture] * count):
            pass
        return count / (time.perf_counter() - start)

"""Response times when requests come whenever they like: Poisson arrivals at fixed shares of the measured capacity.

An open loop: a request counts from the moment when it was due, whether the one before was answered or not. Counting
from the moment when it was taken up would leave out the queue, which is most of what users wait for under load.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from deepfake_bench.energy import Energy
from deepfake_bench.jobs import Job
from deepfake_bench.machine import peak_rss_mb
from deepfake_bench.scenarios import Outcome
from deepfake_bench.scenarios._timing import (
    BLOCKS,
    ENOUGH_S,
    FEW,
    PICTURE,
    noise,
    percentiles,
    sample_ms,
    write_picture,
)
from deepfake_core.loaded import LoadedDetector

LOADS = (50, 80)
"""Offered load in per cent of the capacity."""
AT_LEAST = 200
"""Requests at each load, so that there is a p99; fewer where they would take longer than ``ENOUGH_S``."""
SEED = 0


def measure(detector: LoadedDetector, job: Job) -> Outcome:
    """Measure the capacity with requests back to back, then queue and service together at each load."""
    with tempfile.TemporaryDirectory() as folder:
        picture = write_picture(Path(folder)).read_bytes()

    def answer() -> object:
        return detector.predict(picture)

    sample_ms(answer, min(1.0, job.seconds / 3), minimum=2)
    energy = Energy()
    with energy:
        services = [sample_ms(answer, job.seconds / BLOCKS, minimum=2) for _ in range(BLOCKS)]
    service = list(chain.from_iterable(services))
    capacity = 1e3 / float(np.mean(service))
    metrics = {
        "capacity_per_s": capacity,
        **percentiles("service_ms", service),
        **noise("service_ms", services),
        **energy.per("request", len(service)),
    }
    samples = {"service_ms": service}
    for load in LOADS:
        rate = capacity * load / 100
        responses = respond(answer, arrivals_s(rate, requests(rate, job.seconds), SEED))
        parts = [part.tolist() for part in np.array_split(responses, BLOCKS)]
        metrics |= {
            f"offered_per_s_load_{load}": rate,
            **percentiles(f"response_ms_load_{load}", responses),
            **noise(f"response_ms_load_{load}", parts),
        }
        samples[f"response_ms_load_{load}"] = responses
    return Outcome(
        metrics={**metrics, "peak_rss_mb": peak_rss_mb()},
        samples=samples,
        conditions={
            "request": f"the bytes of {PICTURE}, to the verdict; decoding, face finder and crop included, no network",
            "capacity_per_s": "one request after the other, without a pause: the inverse of their mean time",
            "response_ms": "from the moment when a request was due to its answer: queue and service",
            "load": f"{' and '.join(map(str, LOADS))} % of the capacity; Poisson arrivals of seed {SEED}, one request "
            "at a time in order of arrival; the queue is empty at first",
            "noise": f"range of the medians of {BLOCKS} consecutive parts over the median of all, large for "
            "a queue where requests are few; iqr: interquartile range over the median",
            **energy.conditions(),
            "requests": ", ".join(f"{len(samples[f'response_ms_load_{load}'])} at {load} %" for load in LOADS),
        },
    )


def requests(rate: float, seconds: float) -> int:
    """How many requests are sent at a rate per second: ``seconds`` of them, but enough for percentiles."""
    wanted = max(rate * seconds, AT_LEAST)
    return int(max(min(wanted, rate * max(seconds, ENOUGH_S)), FEW))


def arrivals_s(rate: float, count: int, seed: int) -> list[float]:
    """When ``count`` requests are due, in s from the start: Poisson arrivals of ``rate`` per second."""
    return list(accumulate(np.random.default_rng(seed).exponential(1 / rate, count).tolist()))


def respond(
    call: Callable[[], object],
    due_s: Sequence[float],
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> list[float]:
    """Serve requests one at a time, in their order; from when each was due to its answer, in ms.

    Args:
        call: Serves one request.
        due_s: When each is due, in s from now, ascending.
        clock: Seconds, from any origin.
        sleep: Waits for so many seconds.
    """
    start = clock()
    responses = []
    for due in due_s:
        early = start + due - clock()
        if early > 0:
            sleep(early)
        call()
        responses.append((clock() - start - due) * 1e3)
    return responses

"""Response times when requests come whenever they like: Poisson arrivals at fixed shares of the measured capacity.

An open loop: a request counts from the moment when it was due, whether the one before was answered or not. Counting
from the moment when it was taken up would leave out the queue, which is most of what users wait for under load.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.speed.energy import Energy
from deepfake_bench.scenarios.speed.memory import peak_rss_mb
from deepfake_bench.scenarios.speed.sampling import (
    BLOCKS,
    ENOUGH_S,
    FEW,
    PICTURE,
    noise,
    percentiles,
    sample_ms,
    write_picture,
)
from deepfake_core.handle.loaded import LoadedDetector

LOADS = (50, 80)
"""Offered load in per cent of the capacity."""
AT_LEAST = 200
"""Requests at each load, so that there is a p99; fewer where they would take longer than ``ENOUGH_S``."""
SEED = 0
LEAST, MOST = 10, 95
"""Loads between which a bound on the p99 is searched for, in per cent of the capacity.

Fewer requests than the least would take too long to wait for; at more than the most, the queue hardly settles.
"""
TRIES = 7
LATE = 5
"""Requests that may miss the bound at each load that is tried, of 100 times as many and one, so that there is a p99."""


@dataclass(frozen=True, slots=True)
class Try:
    """One load that was tried for a bound on the p99.

    Attributes:
        load: In per cent of the capacity.
        responses: In ms, in the order of arrival; they end with the request whose answer was one too many late.
        kept: Whether the p99 stayed within the bound.
    """

    load: float
    responses: list[float]
    kept: bool


def measure(detector: LoadedDetector, job: Job) -> ScenarioResult:
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
        responses = list(respond(answer, arrivals_s(rate, requests(rate, job.seconds), SEED)))
        parts = [part.tolist() for part in np.array_split(responses, BLOCKS)]
        metrics |= {
            f"offered_per_s_load_{load}": rate,
            **percentiles(f"response_ms_load_{load}", responses),
            **noise(f"response_ms_load_{load}", parts),
        }
        samples[f"response_ms_load_{load}"] = responses
    bounded = within(answer, capacity, job.p99_ms, job.seconds) if job.p99_ms is not None else ScenarioResult({})
    return ScenarioResult(
        metrics={**metrics, **bounded.metrics, "peak_rss_mb": peak_rss_mb()},
        samples=samples | bounded.samples,
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
            **bounded.conditions,
        },
    )


def requests(rate: float, seconds: float) -> int:
    """How many requests are sent at a rate per second: ``seconds`` of them, but enough for percentiles."""
    wanted = max(rate * seconds, AT_LEAST)
    return int(max(min(wanted, rate * max(seconds, ENOUGH_S)), FEW))


def arrivals_s(rate: float, count: int, seed: int) -> list[float]:
    """When ``count`` requests are due, in s from the start: Poisson arrivals of ``rate`` per second."""
    return list(accumulate(np.random.default_rng(seed).exponential(1 / rate, count).tolist()))


def within(
    call: Callable[[], object],
    capacity: float,
    p99_ms: float,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> ScenarioResult:
    """The highest rate of requests whose p99 stays within a bound, as in the server scenario of MLPerf Inference.

    Every load is tried with the same arrivals, closer together or further apart, so that loads differ by nothing else.

    Args:
        call: Serves one request.
        capacity: Requests per second, back to back.
        p99_ms: The bound on the p99 of the response times.
        seconds: Least time that the requests of one load would take at the full capacity.
        clock: As for :func:`respond`.
        sleep: Likewise.
    """
    late = max(LATE, math.ceil(capacity * seconds / 100))
    count = 100 * late + 1
    tries: list[Try] = []

    def keeps(load: float) -> bool:
        responses: list[float] = []
        missed = 0
        for response in respond(call, arrivals_s(capacity * load / 100, count, SEED), clock, sleep):
            responses.append(response)
            missed += response > p99_ms
            if missed > late:
                break
        tries.append(Try(load, responses, kept=missed <= late))
        return tries[-1].kept

    highest = bisected(keeps)
    tried = ", ".join(f"{one.load:.3g} % {'yes' if one.kept else 'no'}" for one in tries)
    conditions = {
        "within_p99": f"whether the p99 of the response times is at most {p99_ms:g} ms, by bisection of the load "
        f"between {LEAST} and {MOST} % of the capacity: {tried}",
        "requests within_p99": f"{count} at each load, of which {late} may be late: the next one ends it; a p99 of so "
        "few is uncertain, and --seconds sends more",
    }
    if highest is None:
        conditions["requests_per_s_within_p99"] = (
            f"none: not even at {tries[-1].load:.3g} % of the capacity is the p99 at most {p99_ms:g} ms"
        )
        return ScenarioResult({"p99_bound_ms": p99_ms, "requests_per_s_within_p99": math.nan}, conditions=conditions)
    if highest == MOST:
        conditions["requests_per_s_within_p99"] = "the highest load that is tried keeps the bound: it may be more"
    responses = next(one.responses for one in tries if one.load == highest)
    return ScenarioResult(
        {
            "p99_bound_ms": p99_ms,
            "requests_per_s_within_p99": capacity * highest / 100,
            "load_percent_within_p99": highest,
            **percentiles("response_ms_within_p99", responses),
        },
        samples={"response_ms_within_p99": responses},
        conditions=conditions,
    )


def bisected(keeps: Callable[[float], bool]) -> float | None:
    """The highest load in per cent that keeps a bound, of :data:`TRIES` at most; ``None`` where none of them does."""
    if keeps(MOST):
        return MOST
    low, high = float(LEAST), float(MOST)
    found = None
    for _ in range(TRIES - 1):
        middle = (low + high) / 2
        if keeps(middle):
            found = low = middle
        else:
            high = middle
    return found


def respond(
    call: Callable[[], object],
    due_s: Sequence[float],
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[float]:
    """Serve requests one at a time, in their order; from when each was due to its answer, in ms.

    The next request is served when its time is asked for, which must be at once.

    Args:
        call: Serves one request.
        due_s: When each is due, in s from now, ascending.
        clock: Seconds, from any origin.
        sleep: Waits for so many seconds.
    """
    start = clock()
    for due in due_s:
        early = start + due - clock()
        if early > 0:
            sleep(early)
        call()
        yield (clock() - start - due) * 1e3

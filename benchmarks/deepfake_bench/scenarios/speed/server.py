"""Response times under load: Poisson arrivals at fixed shares of the measured capacity, in an open loop."""

from __future__ import annotations

import tempfile
from itertools import chain
from pathlib import Path

import numpy as np

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.speed.energy import Energy
from deepfake_bench.scenarios.speed.memory import peak_rss_mb
from deepfake_bench.scenarios.speed.open_loop import arrivals_s, respond
from deepfake_bench.scenarios.speed.p99_search import SEED, rate_within_p99
from deepfake_bench.scenarios.speed.portrait import PICTURE, write_picture
from deepfake_bench.scenarios.speed.sampling import BLOCKS, ENOUGH_S, FEW, noise, percentiles, sample_ms
from deepfake_core.handle.predictor import Predictor

LOADS = (50, 80)
"""Offered load in per cent of the capacity."""
AT_LEAST = 200
"""Requests at each load, so that there is a p99; fewer where they would take longer than ``ENOUGH_S``."""


def measure(detector: Predictor, job: Job) -> ScenarioResult:
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
    bounded = ScenarioResult({})
    if job.p99_ms is not None:
        bounded = rate_within_p99(answer, capacity, job.p99_ms, job.seconds)
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
    """Return how many requests are sent at a rate per second: for ``seconds``, but enough for percentiles."""
    wanted = max(rate * seconds, AT_LEAST)
    return int(max(min(wanted, rate * max(seconds, ENOUGH_S)), FEW))

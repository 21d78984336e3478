"""Experimental: the highest rate of requests whose p99 stays within a bound, by bisection of the load.

It asks the question of the server scenario of MLPerf Inference (Reddi et al. 2020, arXiv 1911.02549). A p99 of some
hundred requests is uncertain, and so is the rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.speed.open_loop import arrivals_s, respond
from deepfake_bench.scenarios.speed.sampling import percentiles

SEED = 0
LEAST, MOST = 10, 95
"""Loads between which a bound on the p99 is searched for, in per cent of the capacity.

Fewer requests than the least would take too long to wait for; at more than the most, the queue hardly settles.
"""
TRIES = 7
"""Most loads that are tried."""
LATE = 5
"""Requests that may miss the bound at each load that is tried, of 100 times as many and one, so that there is a p99."""


@dataclass(frozen=True, slots=True)
class TriedLoad:
    """One load that was tried for a bound on the p99.

    Attributes:
        load: Load in per cent of the capacity.
        responses: Response times in ms, in the order of arrival; they end when one more than allowed was late.
        kept: Whether the p99 stayed within the bound.
    """

    load: float
    responses: list[float]
    kept: bool


def rate_within_p99(
    call: Callable[[], object],
    capacity: float,
    p99_ms: float,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> ScenarioResult:
    """Search for the highest rate of requests whose p99 stays within a bound (experimental).

    Every load is tried with the same arrivals, closer together or further apart, so that loads differ by nothing else.

    Args:
        call: Function that serves one request.
        capacity: Requests per second, back to back.
        p99_ms: Bound on the p99 of the response times, in ms.
        seconds: Least time that the requests of one load would take at the full capacity, in s.
        clock: Function that returns the time in s, from any origin.
        sleep: Function that waits for so many seconds.
    """
    late = max(LATE, math.ceil(capacity * seconds / 100))
    count = 100 * late + 1
    tries: list[TriedLoad] = []

    def keeps(load: float) -> bool:
        responses: list[float] = []
        missed = 0
        for response in respond(call, arrivals_s(capacity * load / 100, count, SEED), clock, sleep):
            responses.append(response)
            missed += response > p99_ms
            if missed > late:
                break
        tries.append(TriedLoad(load, responses, kept=missed <= late))
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
    """Return the highest load in per cent that keeps a bound, of at most :data:`TRIES`; ``None`` where none does."""
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

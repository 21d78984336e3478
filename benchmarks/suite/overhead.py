"""Overhead of the harness in the times that it reports: an empty call, and one network with and without the harness.

Run from the repository root on an idle machine::

    python benchmarks/suite/overhead.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from deepfake_bench.scenarios.speed.open_loop import respond
from deepfake_bench.scenarios.speed.portrait import network_input
from deepfake_bench.scenarios.speed.sampling import sample_ms
from deepfake_core import load

EMPTY = 100_000
TURNS = 30
CALLS = 40
LIMIT = 0.01


def empty_call_ms() -> dict[str, float]:
    """Return in ms what each loop reports for a call that does nothing, and how long one turn of the loop takes."""
    start = time.perf_counter()
    samples = sample_ms(lambda: None, seconds=0.0, minimum=EMPTY)
    turn = (time.perf_counter() - start) * 1e3 / EMPTY
    late = list(respond(lambda: None, [0.0] * EMPTY))
    return {
        "closed loop, reported": statistics.median(samples),
        "closed loop, whole turn": turn,
        "open loop, whole turn": late[-1] / EMPTY,
    }


def bare_ms(call: Callable[[], object]) -> float:
    """Return the mean time in ms of a call in a loop that does nothing else."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) * 1e3 / CALLS


def harness_ms(call: Callable[[], object]) -> float:
    """Return the mean time in ms of a call as the harness reports it."""
    return statistics.fmean(sample_ms(call, seconds=0.0, minimum=CALLS))


def main() -> None:
    """Print the cost of an empty call, its share of the detector's latency, and both ways of timing the detector."""
    parser = argparse.ArgumentParser(description="what the harness adds to its figures")
    parser.add_argument("--detector", default="lite")
    parser.add_argument("--untrained", action="store_true")
    options = parser.parse_args()
    detector = load(options.detector, untrained=options.untrained)
    cuts = network_input(detector)

    def score() -> object:
        return detector.score(*cuts)

    bare_ms(score)
    bare, measured = [], []
    for _ in range(TURNS):  # in turns, so that a disturbance meets both
        bare.append(bare_ms(score))
        measured.append(harness_ms(score))
    latency = statistics.median(bare)
    for name, empty in empty_call_ms().items():
        share = empty / latency
        verdict = "met" if share < LIMIT else "missed"
        print(f"overhead: empty call, {name:24}{empty * 1e6:8.0f} ns  {share:8.4%} of a call, limit 1 %: {verdict}")
    pairs = [after / before - 1 for before, after in zip(bare, measured, strict=True)]
    low, middle, high = statistics.quantiles(pairs, n=4)
    print(
        f"overhead: {options.detector}, bare loop {latency:.3f} ms, harness {statistics.median(measured):.3f} ms a call"
    )
    print(f"overhead: difference of {TURNS} turns: median {middle:+.2%}, quartiles {low:+.2%} and {high:+.2%}")


if __name__ == "__main__":
    main()

"""Speeds as ratios within one run: start-up relative to a bare interpreter, and overlap of decoding with inference.

Run from the repository root on an idle machine::

    python benchmarks/suite/ratios.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deepfake_bench.scenarios.speed.portrait import write_picture
from deepfake_core import load
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.runtimes.threads import allowed_threads

REPEATS = 15
TURNS = 5


def start_up() -> None:
    """Time ``--help`` and ``list`` beside ``python -c pass``; the goal is three times that and 0.15 s."""
    commands = {"pass": ["-c", "pass"]}
    commands |= {name: ["-m", "deepfake_bench", name] for name in ("--help", "list")}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, arguments in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)  # noqa: S603
            taken[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    limit = 3 * medians["pass"] + 0.15
    for name, seconds in medians.items():
        print(f"start-up: {name:8}{seconds:8.3f} s   limit {limit:.3f}: {'met' if seconds <= limit else 'missed'}")


def overlap(name: str, untrained: bool, count: int) -> None:
    """Time files through ``stream`` beside the host half and the network alone; the goal is 85 % of the slower one.

    The two halves compete for the same processors. Where each of them, alone, already keeps every processor busy,
    ``stream`` cannot beat the time that both need one after the other: that bound is printed too.
    """
    detector = load(name, untrained=untrained)
    with tempfile.TemporaryDirectory() as folder:
        picture = str(write_picture(Path(folder)))
        preparer = Preparer(detector.manifest.preprocess)
        crops = np.repeat(preparer.prepare(picture).crops[:1], 16, axis=0)
        files = [picture] * count
        list(detector.stream(files[:8]))
        works: dict[str, Callable[[], object]] = {
            "host half, one thread": lambda: [preparer.prepare(file) for file in files],
            "host half, every thread": lambda: prepare_in_threads(preparer, files),
            "network alone": lambda: [detector.score(crops) for _ in range(count // 16)],
            "stream": lambda: list(detector.stream(files)),
        }
        rates = best_rates(count, works)
    for name, per_s in rates.items():
        print(f"overlap: {name:24}{per_s:8.1f} files/s")
    one, every, network, together = rates.values()
    print(f"overlap: stream / slower half (host on one thread)    {together / min(one, network):.2f}   goal 0.85")
    print(f"overlap: stream / slower half (host on every thread)  {together / min(every, network):.2f}")
    print(f"overlap: stream / both on every processor in turn     {together / (1 / (1 / every + 1 / network)):.2f}")


def prepare_in_threads(preparer: Preparer, files: Iterable[str]) -> None:
    """Run the host half as ``stream`` does, without a network."""
    with ThreadPoolExecutor(allowed_threads()) as pool:
        for _ in pool.map(preparer.prepare, files):
            pass


def best_rates(count: int, works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return items per second of each kind of work, the best of several turns that alternate."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(TURNS):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: count / seconds for name, seconds in best.items()}


def main() -> None:
    """Print every ratio."""
    parser = argparse.ArgumentParser(description="start-up and overlap, as ratios")
    parser.add_argument("--detector", default="lite")
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--files", type=int, default=96)
    options = parser.parse_args()
    start_up()
    overlap(options.detector, options.untrained, options.files // 16 * 16)


if __name__ == "__main__":
    main()

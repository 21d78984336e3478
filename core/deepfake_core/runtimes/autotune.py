"""Find the backend that runs a model fastest on this machine; the measurement is made once and cached."""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np

from deepfake_core.discovery.artifacts import Artifact
from deepfake_core.errors import DeepfakeError
from deepfake_core.runtimes.base import Outputs, Runtime, worst_difference
from deepfake_core.runtimes.cpu_contention import CpuContention, busy_with_others
from deepfake_core.runtimes.processor import processor_id, processor_name
from deepfake_core.timing import timed_ms
from deepfake_registry.files import write_atomic
from deepfake_registry.folders import cache_folder

log = logging.getLogger("deepfake.backends")

COMPARED: tuple[Literal["onnxruntime", "openvino"], ...] = ("onnxruntime", "openvino")
"""Names of the compared backends, the preferred one first; each is also the name of a distribution."""
MARGIN = 0.95
"""Largest share of the preferred backend's time at which another backend is chosen; below 1 because of noise."""
TOLERANCE = 1e-3
"""Largest difference of a logit between two runtimes, relative for logits above 1; real exports stay below 1e-4."""
BRIEFLY_S = 600.0
"""Time in seconds for which timings from a busy machine are valid."""
_SHORTEST, _LONGEST, _BUDGET_S = 5, 50, 0.5


@dataclass(frozen=True, slots=True)
class Timing:
    """Measurement of one backend on a model.

    Attributes:
        backend: Name of the backend.
        ms: Median time of one input, in milliseconds; ``None`` if the backend failed or its logit differs too much.
        difference: Largest difference of its logit from that of the first backend; ``None`` if it gave no logit.
        reason: Reason why there is no time; empty if there is one.
        others_share: Share of the processors that other work took meanwhile, in [0, 1]; ``None`` where it is not known.
    """

    backend: str
    ms: float | None
    difference: float | None = None
    reason: str = ""
    others_share: float | None = None


def fastest(open_runtime: Mapping[str, Callable[[], Runtime]], artifacts: Mapping[str, Artifact], threads: int) -> str:
    """Return the name of the fastest backend, from cached timings or from a measurement.

    Args:
        open_runtime: Mapping of backend → function that opens it on this model, the preferred one first.
        artifacts: Mapping of backend → file that it runs.
        threads: Number of threads of one inference.
    """
    timings = cached_timings(artifacts, threads)
    if timings is None:
        timings = measure_and_cache(open_runtime, artifacts, threads)
    return best(timings)


def best(timings: list[Timing]) -> str:
    """Return the name of the fastest backend; the first one if no other is clearly faster (:data:`MARGIN`)."""
    first = timings[0]
    others = [timing for timing in timings[1:] if timing.ms is not None]
    if first.ms is None or not others:
        return first.backend
    quickest = min(others, key=lambda timing: timing.ms or 0.0)
    return quickest.backend if (quickest.ms or 0.0) < MARGIN * first.ms else first.backend


def measure(open_runtime: Mapping[str, Callable[[], Runtime]]) -> list[Timing]:
    """Time each runtime on the same input of noise, in turns: about half a second each, at least five runs.

    The logits of all runtimes are compared with that of the first one. A runtime that differs or cannot run the model
    gets no time.

    Args:
        open_runtime: Mapping of backend → function that opens it on this model, the preferred one first.

    Raises:
        ArtifactCorrupt: The first backend cannot load the file.
    """
    first, *others = open_runtime
    runtimes = {first: open_runtime[first]()}
    shape = (1, *runtimes[first].manifest.preprocess.input_shape)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    reference = runtimes[first].run(image)  # also warms the runtime up
    apart, refused = {first: 0.0}, {}
    for name in others:
        try:
            runtime = open_runtime[name]()
            apart[name] = _difference(reference, runtime.run(image))
        except (DeepfakeError, RuntimeError) as error:
            refused[name] = Timing(name, None, None, " ".join(str(error).split()))
            continue
        if apart[name] <= TOLERANCE:
            runtimes[name] = runtime
        else:
            reason = f"its logit differs from that of {first} by {apart[name]:.2g}"
            refused[name] = Timing(name, None, apart[name], reason)
    for timing in refused.values():
        log.warning("%s is left out: %s", timing.backend, timing.reason)
    spent: dict[str, list[float]] = {name: [] for name in runtimes}
    started = time.perf_counter()
    for turn in range(_LONGEST):
        for name, runtime in runtimes.items():
            spent[name].append(timed_ms(partial(runtime.run, image)))
        if turn + 1 >= _SHORTEST and time.perf_counter() - started > _BUDGET_S * len(runtimes):
            break
    timed = {name: Timing(name, statistics.median(times), apart[name]) for name, times in spent.items()}
    return [{**timed, **refused}[name] for name in open_runtime]


def measure_and_cache(
    open_runtime: Mapping[str, Callable[[], Runtime]], artifacts: Mapping[str, Artifact], threads: int
) -> list[Timing]:
    """Measure as :func:`measure` does, and cache the timings with the share of time that other processes took.

    The arguments are those of :func:`fastest`.

    Raises:
        ArtifactCorrupt: The first backend cannot load the file.
    """
    others = CpuContention()
    timings = measure(open_runtime)
    share = others.share()
    if busy := busy_with_others(share):
        log.info("backends were timed, but %s", busy)
    timings = [replace(timing, others_share=share) for timing in timings]
    cache_timings(artifacts, threads, timings)
    return timings


def _difference(one: Outputs, other: Outputs) -> float:
    worst = worst_difference(one.logit, other.logit)
    return worst if np.isfinite(worst) else float("inf")


# ── cache of the timings ─────────────────────────────────────────────────────────────────────────────────────


def cached_timings(artifacts: Mapping[str, Artifact], threads: int) -> list[Timing] | None:
    """Return the cached timings of these files on this machine with these versions of the libraries, if there are any.

    Timings from a busy machine are valid for :data:`BRIEFLY_S` only, because they may favour the slower backend.

    Args:
        artifacts: Mapping of backend → file that it runs.
        threads: Number of threads of one inference.

    Returns:
        Timings in the order of ``artifacts``; ``None`` if there are none, or if they cannot be read.
    """
    file = _file(artifacts, threads)
    try:
        stored = json.loads(file.read_text())
        timings = [Timing(**entry) for entry in stored["timings"]]
        # Caches of older versions hold the share elsewhere, and are measured again.
        busy = any(busy_with_others(entry["others_share"]) for entry in stored["timings"])
        if busy and time.time() - file.stat().st_mtime > BRIEFLY_S:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return timings if [timing.backend for timing in timings] == list(artifacts) else None


def cache_timings(artifacts: Mapping[str, Artifact], threads: int, timings: list[Timing]) -> None:
    """Write timings to the cache. If it cannot be written, the next process measures again.

    Args:
        artifacts: Mapping of backend → file that it runs.
        threads: Number of threads of one inference.
        timings: Timings to cache.
    """
    file = _file(artifacts, threads)
    found = {"timings": [asdict(timing) for timing in timings]}
    try:
        write_atomic(file, json.dumps(found, indent=1) + "\n")
    except (OSError, DeepfakeError) as error:
        log.info("%s: the timings cannot be cached (%s)", file, error)


def _file(artifacts: Mapping[str, Artifact], threads: int) -> Path:
    """Return the cache file for this combination of model files, threads, processor and versions of libraries."""
    what = {
        "files": {name: artifact.sha256 for name, artifact in artifacts.items()},
        "versions": {name: version(name) for name in artifacts},
        "threads": threads,
        "cpu": [processor_name(), processor_id()],
        "core": metadata.version("deepfake-core"),
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    entry = f"backends/{digest[:32]}.json"
    return cache_folder(entry) / entry


def version(backend: str) -> str | None:
    """Return the version of the library of a backend; ``None`` if it is not installed."""
    try:
        return metadata.version(backend)
    except metadata.PackageNotFoundError:
        return None

"""Latency at batch 1 on a warm detector: the network alone, and the whole way from a file to a verdict."""

from __future__ import annotations

import tempfile
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.speed.energy import Energy
from deepfake_bench.scenarios.speed.memory import peak_rss_mb
from deepfake_bench.scenarios.speed.portrait import PICTURE, network_input, write_picture
from deepfake_bench.scenarios.speed.sampling import BLOCKS, NOISE, noise, percentiles, sample_ms
from deepfake_core.handle.predictor import Predictor
from deepfake_core.timing import timed_ms

STEADY, GLANCE = 7, 3
"""Fewest calls of the network in a block, however long one takes; the second where less than a second is given."""


def measure(detector: Predictor, job: Job) -> ScenarioResult:
    """Measure both latencies and keep their raw samples; the first calls and the warm-up are apart."""
    cuts = network_input(detector)
    with tempfile.TemporaryDirectory() as folder:
        picture = write_picture(Path(folder))
        first_ms = timed_ms(lambda: detector.score(*cuts))
        warm_up = sample_ms(lambda: detector.score(*cuts), min(1.0, job.seconds / 3), minimum=2)
        detector.predict(picture)
        energy = Energy()
        least = STEADY if job.seconds >= 1 else GLANCE
        forwards, predicts = [], []
        for _ in range(BLOCKS):
            forwards.append(sample_ms(lambda: detector.score(*cuts), job.seconds / BLOCKS, minimum=least))
            with energy:
                predicts.append(sample_ms(lambda: detector.predict(picture), job.seconds / BLOCKS, minimum=2))
    forward, predict = (list(chain.from_iterable(blocks)) for blocks in (forwards, predicts))
    return ScenarioResult(
        metrics={
            **percentiles("latency_ms", forward),
            **percentiles("predict_ms", predict),
            **noise("latency_ms", forwards),
            **noise("predict_ms", predicts),
            **energy.per("predict", len(predict)),
            "first_ms": first_ms,
            "peak_rss_mb": peak_rss_mb(),
        },
        samples={"warm_up_ms": warm_up, "latency_ms": forward, "predict_ms": predict},
        conditions={
            "latency_ms": f"batch 1, from uint8 {_shapes(cuts)} to the logit; decoding, face finder and crop not "
            "included",
            "predict_ms": f"from the file to the verdict, {PICTURE}; decoding, face finder and crop included",
            "noise": NOISE,
            **energy.conditions(),
        },
    )


def _shapes(cuts: list[NDArray[np.uint8]]) -> str:
    return " and ".join("×".join(map(str, cut.shape[1:-1])) for cut in cuts)

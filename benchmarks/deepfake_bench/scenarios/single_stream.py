"""Latency at batch 1 on a warm detector: the network alone, and the whole way from a file to a verdict."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from deepfake_bench.jobs import DATA, Job
from deepfake_bench.machine import peak_rss_mb
from deepfake_bench.scenarios import Outcome
from deepfake_bench.scenarios._timing import PICTURE, percentiles, sample_ms, timed_ms, write_picture
from deepfake_core.loaded import LoadedDetector


def measure(detector: LoadedDetector, job: Job) -> Outcome:
    """Keep the raw samples of both latencies; the first calls and the warm-up are apart."""
    crop = network_input(detector)
    with tempfile.TemporaryDirectory() as folder:
        picture = write_picture(Path(folder))
        first_ms = timed_ms(lambda: detector.score(crop))
        warm_up = sample_ms(lambda: detector.score(crop), min(1.0, job.seconds / 3))
        forward = sample_ms(lambda: detector.score(crop), job.seconds, minimum=20)
        detector.predict(picture)
        predict = sample_ms(lambda: detector.predict(picture), job.seconds)
    return Outcome(
        metrics={
            **percentiles("latency_ms", forward),
            **percentiles("predict_ms", predict),
            "first_ms": first_ms,
            "peak_rss_mb": peak_rss_mb(),
        },
        samples={"warm_up_ms": warm_up, "latency_ms": forward, "predict_ms": predict},
        conditions={
            "latency_ms": "batch 1, from the uint8 crop to the logit; decoding, face finder and crop not included",
            "predict_ms": f"from the file to the verdict, {PICTURE}; decoding, face finder and crop included",
        },
    )


def network_input(detector: LoadedDetector) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The portrait as the network sees it, ``uint8 [1, H, W, 3]``."""
    (result,) = detector.stream([DATA / "portrait.jpg"], keep_crops=True)
    if not result.faces or result.faces[0].crop is None:
        raise RuntimeError(f"the embedded portrait gave no face: {result.verdict} {result.error}")
    return result.faces[0].crop[None]

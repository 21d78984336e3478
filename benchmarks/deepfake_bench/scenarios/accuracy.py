"""Accuracy on each source of a labelled dataset, with intervals drawn by groups."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from deepfake_bench.records.job import Job
from deepfake_bench.records.predictions import LEVELS, Prediction, by_level, by_source, write_predictions
from deepfake_bench.records.report import OF_VIDEOS
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.measures import level_means, source_accuracy
from deepfake_bench.scenarios.samples import describe, mark_seen, read_dataset, refusal
from deepfake_core.evaluation.evaluate import evaluate
from deepfake_core.evaluation.samples import is_video
from deepfake_core.handle.predictor import Predictor
from deepfake_core.inputs.video import duration_s

VIDEO_SPEED = (
    "seconds of video judged in a second: decoding of the sampled frames, face finder and network; only where every "
    "sample is a video file. frames_per_video: mean over the videos that have a score"
)


def measure(detector: Predictor, job: Job) -> ScenarioResult:
    """Score every sample; the mean over sources stands beside each source's own figures.

    Raises:
        TrainingDataError: The dataset holds no samples.
    """
    assert job.dataset is not None, "the plan gives this scenario a dataset"
    dataset = read_dataset(job.dataset, job.limit)
    start = time.perf_counter()
    judged = {"": list(evaluate(detector, dataset))}
    taken_s = time.perf_counter() - start
    judged, seen = mark_seen(judged, detector, dataset)
    predictions = judged[""]
    if job.predictions:
        write_predictions(Path(job.predictions), judged)
    threshold = detector.manifest.calibration.threshold
    described = describe(job.dataset, dataset, len(predictions), job.limit)
    refused = refusal(detector, dataset, described)
    # A detector of clips is given the frames of a video together, whatever files they are.
    levels = {"videos": predictions} if detector.manifest.preprocess.clip else by_level(predictions)
    found = {
        level: [
            source_accuracy(f"{name}{OF_VIDEOS}" if index else name, pairs, threshold, fitted_here=bool(refused))
            for name, pairs in by_source(rows).items()
        ]
        for index, (level, rows) in enumerate(levels.items())
    }
    return ScenarioResult(
        metrics=level_means(found) | video_speed(predictions, taken_s),
        sources=list(chain.from_iterable(found.values())),
        dataset=described,
        conditions={
            **refused,
            **seen,
            "score": "a picture's score is the maximum over its faces, a video's the mean over frames of that maximum",
            "unscored": "samples with no face or an error have no score: see the rates beside the figures",
            "interval": "95 %, from 1000 bootstrap draws of whole groups; none for the ECE, where it is biased",
            "mean": "over the sources in which the measure is defined: most need both classes",
            **({"video_s_per_s": VIDEO_SPEED} if "videos" in levels else {}),
            "level": f"a sample is {' or '.join(LEVELS[level] for level in levels)}; pictures and videos are never in "
            "one figure, and those of videos are called videos_… where there are both",
            "threshold": f"accuracies at the shipped threshold, P(fake) >= {threshold:g}",
        },
    )


def video_speed(predictions: Sequence[Prediction], taken_s: float) -> dict[str, float]:
    """Return the mean number of scored frames of a video and, where all samples are video files, the throughput.

    Args:
        predictions: All predictions of the measurement.
        taken_s: Time that they took, in s.
    """
    videos = [
        (sample, result) for sample, result in predictions if is_video(sample, result) and result.p_fake is not None
    ]
    if not videos:
        return {}
    found = {"frames_per_video": float(np.mean([result.frames for _, result in videos]))}
    if len(by_level(predictions)) > 1:
        return found
    lengths_s = [duration_s(sample.path) for sample, _ in videos if not sample.member]
    if len(lengths_s) == len(videos):
        found["video_s_per_s"] = sum(lengths_s) / taken_s
    return found | {"videos_per_s": len(predictions) / taken_s}

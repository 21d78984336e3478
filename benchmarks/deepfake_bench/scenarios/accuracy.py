"""Accuracy per source of a labelled dataset, with intervals drawn by groups; nothing is fitted here."""

from __future__ import annotations

import csv
import functools
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

from deepfake_bench.records.dataset import DatasetRef
from deepfake_bench.records.job import Job
from deepfake_bench.records.report import Curves, DatasetInfo, Estimate, SourceAccuracy
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_core.data.manifest import manifest_hash
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.evaluate import Subset, evenly
from deepfake_core.evaluation.evaluate import judged as judge
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.handle.results import Result
from deepfake_core.inputs.sources import VIDEO_SUFFIXES
from deepfake_core.inputs.video import duration_s
from deepfake_registry.files import atomic_path

Judged: TypeAlias = tuple[Sample, Result]
_CURVE_POINTS = 100

PREDICTIONS = ("path", "source", "group", "variant", "fake", "p_fake", "logit", "verdict", "faces", "error", "frames")
"""Columns of the CSV file that takes every score."""
VIDEO_SPEED = (
    "seconds of video judged in a second: decoding of the sampled frames, face finder and network; only where every "
    "sample is a video file. frames_per_video: mean over the videos that have a score"
)
CALIBRATED = ("accuracy", "balanced_accuracy", "fakes_found", "reals_passed", "ece", "brier")
"""Measures that depend on the calibration or the threshold; the others are of the ranking alone."""
LEVELS = {"pictures": "a picture or a frame", "videos": "a whole video"}


def measure(detector: LoadedDetector, job: Job) -> ScenarioResult:
    """Score every sample; the mean over sources stands beside each source's own figures.

    Raises:
        TrainingDataError: The dataset holds no samples.
    """
    assert job.dataset is not None, "the plan gives this scenario a dataset"
    dataset = read_dataset(job.dataset, job.limit)
    start = time.perf_counter()
    judged = list(judge(detector, dataset))
    taken_s = time.perf_counter() - start
    if job.predictions:
        write_predictions(Path(job.predictions), {"": judged})
    threshold = detector.manifest.calibration.threshold
    described = describe(job.dataset, dataset, len(judged), job.limit)
    refused = refusal(detector, dataset, described)
    # A detector of clips is given the frames of a video together, whatever files they are.
    levels = {"videos": judged} if detector.manifest.preprocess.clip else by_level(judged)
    found = {
        level: [
            source_accuracy(f"{name} (videos)" if index else name, pairs, threshold, fitted_here=bool(refused))
            for name, pairs in by_source(rows).items()
        ]
        for index, (level, rows) in enumerate(levels.items())
    }
    return ScenarioResult(
        metrics=level_means(found) | video_speed(judged, taken_s),
        sources=list(chain.from_iterable(found.values())),
        dataset=described,
        conditions={
            **refused,
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


def read_dataset(reference: DatasetRef, limit: int | None = None, *, pictures: bool = False) -> Subset:
    """A dataset, or at most ``limit`` files or videos of each source and class, evenly spread.

    Args:
        reference: What the user named.
        limit: By default everything.
        pictures: Leave videos out.

    Raises:
        TrainingDataError: The dataset holds no samples.
    """
    dataset = reference.open()
    samples = list(dataset)
    if not samples:
        raise TrainingDataError(f"{reference.path}: no samples; expected the layout {reference.layout!r}")
    chosen = [sample for sample in samples if not (pictures and is_video(sample))]
    if not chosen:
        raise TrainingDataError(f"{reference.path}: only videos, and this scenario is about pictures; add some")
    if limit is not None:
        chosen = evenly(chosen, limit)
    return Subset(dataset, chosen)


def refusal(detector: LoadedDetector, dataset: Subset, described: DatasetInfo) -> dict[str, str]:
    """Why measures that depend on the calibration are not given: it was fitted on this very set; empty otherwise.

    Part of a set is the set.
    """
    known = detector.manifest.calibration.fitted_on_sha256
    if not known:
        return {}
    here = {described.sha256}
    if len(dataset.samples) < len(list(dataset.dataset)):
        here.add(manifest_hash(dataset.dataset))
    if here.isdisjoint(known):
        return {}
    return {
        "refused": f"{', '.join(CALIBRATED)}: calibration and threshold were fitted on this very set, which flatters "
        "them; measure on other files. Ranking measures do not depend on either"
    }


def is_video(sample: Sample) -> bool:
    """Whether a sample is a video file, by its suffix."""
    return sample.path.suffix.lower() in VIDEO_SUFFIXES


def by_level(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    """Pictures apart from video files: the score of a video is a mean over frames, and ranks against videos alone."""
    found: dict[str, list[Judged]] = {level: [] for level in LEVELS}
    for pair in judged:
        found["videos" if is_video(pair[0]) else "pictures"].append(pair)
    return {level: rows for level, rows in found.items() if rows}


def by_source(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    """Samples with their results, by the source of the sample; sources in alphabetical order."""
    found: dict[str, list[Judged]] = {}
    for pair in judged:
        found.setdefault(pair[0].source, []).append(pair)
    return dict(sorted(found.items()))


def source_accuracy(
    name: str,
    judged: Sequence[Judged],
    threshold: float,
    *,
    variant: str = "",
    only: Collection[str] | None = None,
    fitted_here: bool = False,
) -> SourceAccuracy:
    """Measures on one source, with intervals drawn by groups.

    Args:
        name: Of the source.
        judged: Its samples; those without a score count in the rates alone.
        threshold: The detector's own.
        variant: How the pictures were changed before they were judged.
        only: Names of measures; by default every one.
        fitted_here: The calibration was fitted on these samples, so what depends on it is left undefined.
    """
    scored = [(sample, result.p_fake) for sample, result in judged if result.p_fake is not None]
    fake = np.array([sample.is_fake for sample, _ in scored], dtype=np.int64)
    p_fake = np.array([score for _, score in scored], dtype=np.float64)
    groups = np.array([sample.group for sample, _ in scored], dtype=str)
    measures: dict[str, metrics.Metric] = {
        "auc": metrics.roc_auc,
        "average_precision": metrics.average_precision,
        "eer": metrics.eer,
        "tpr_at_1pct_fpr": functools.partial(metrics.tpr_at_fpr, fpr=0.01),
        "tpr_at_5pct_fpr": functools.partial(metrics.tpr_at_fpr, fpr=0.05),
        "accuracy": functools.partial(metrics.accuracy, threshold=threshold),
        "balanced_accuracy": functools.partial(metrics.balanced_accuracy, threshold=threshold),
        "fakes_found": lambda target, score: _share(score[target == 1] >= threshold),
        "reals_passed": lambda target, score: _share(score[target == 0] < threshold),
        "brier": metrics.brier,
    }
    wanted = measures.keys() if only is None else only
    found = {key: _estimate(measures[key], fake, p_fake, groups) for key in wanted}
    if only is None:
        # Drawing with replacement repeats samples, which raises this measure by itself: its interval would be biased.
        found["ece"] = Estimate(value=metrics.ece(fake, p_fake))
        if len(np.unique(fake)) < 2:  # calibration is about a mixture of both classes
            found["ece"] = found["brier"] = Estimate(value=None)
        group_fake, group_score, group_names = _by_group(fake, p_fake, groups)
        if len(group_fake) < len(fake):
            found["video_auc"] = _estimate(metrics.roc_auc, group_fake, group_score, group_names)
    if fitted_here:
        found |= {key: Estimate(value=None) for key in CALIBRATED if key in found}
    total = len(judged)
    labels = np.array([sample.is_fake for sample, _ in judged], dtype=np.int64)
    return SourceAccuracy(
        source=name,
        variant=variant,
        real=int((labels == 0).sum()),
        fake=int((labels == 1).sum()),
        groups=len({sample.group for sample, _ in judged}),
        no_face_rate=sum(result.verdict == "no_face" for _, result in judged) / total,
        error_rate=sum(result.verdict == "error" for _, result in judged) / total,
        unsure_rate=sum(result.verdict == "unsure" for _, result in judged) / total,
        metrics=found,
        curves=_curves(fake, p_fake) if only is None and len(np.unique(fake)) == 2 else None,
    )


def _estimate(measure: metrics.Metric, fake: Any, score: Any, groups: Any) -> Estimate:
    low, high = metrics.grouped_bootstrap(fake, score, groups, measure)
    return Estimate(value=measure(fake, score), low=low, high=high)


def _curves(fake: Any, p_fake: Any) -> Curves:
    fpr, tpr = thinned(*metrics.roc_curve(fake, p_fake))
    bins = metrics.reliability(fake, p_fake)
    p_mean, share, mass = (np.round(values, 6).tolist() for values in bins)
    return Curves(
        fpr=np.round(fpr, 6).tolist(),
        tpr=np.round(tpr, 6).tolist(),
        bin_p_fake=p_mean,
        bin_share=share,
        bin_mass=mass,
    )


def thinned(fpr: metrics.Floats, tpr: metrics.Floats) -> tuple[metrics.Floats, metrics.Floats]:
    """A ROC curve ``float64 [K]`` without points that no diagram could tell apart; its ends and short ones stay.

    Of neighbours within 1/20 of a normal deviate in both rates, the unit of a DET diagram's axes (Martin et al.
    1997), the first is kept.
    """
    if len(fpr) <= _CURVE_POINTS:
        return fpr, tpr
    deviate = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])
    places = [np.round(20 * deviate(np.clip(rates, 1e-4, 1 - 1e-4))) for rates in (fpr, tpr)]
    moved = np.any(np.diff(places) != 0, axis=0)
    kept = np.concatenate(([True], moved[:-1], [True]))
    return fpr[kept], tpr[kept]


def _share(hits: Any) -> float:
    return float(np.mean(hits)) if len(hits) else float("nan")


def _by_group(fake: Any, score: Any, groups: Any) -> tuple[Any, Any, Any]:
    """One row per label and group (the frames of one video): the mean score, as for a video file."""
    keys = np.char.add(fake.astype(str), groups) if len(fake) else groups
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    mean = np.bincount(index, weights=score) / np.bincount(index) if len(fake) else score
    return fake[first], mean, groups[first]


def means(sources: Iterable[SourceAccuracy]) -> dict[str, float]:
    """Mean of each measure over the sources where it is defined, and the lowest AUC."""
    values: dict[str, list[float]] = {}
    for source in sources:
        for name, estimate in source.metrics.items():
            if estimate.value is not None:
                values.setdefault(name, []).append(estimate.value)
    found = {name: float(np.mean(numbers)) for name, numbers in values.items()}
    if "auc" in values:
        found["auc_lowest_source"] = min(values["auc"])
    return found


def level_means(found: Mapping[str, Sequence[SourceAccuracy]]) -> dict[str, float]:
    """:func:`means` of the one level that there is; of both, those of videos are called ``videos_…``."""
    prefix = {level: "videos_" if level == "videos" and len(found) > 1 else "" for level in found}
    return {prefix[level] + name: value for level, rows in found.items() for name, value in means(rows).items()}


def video_speed(judged: Sequence[Judged], taken_s: float) -> dict[str, float]:
    """Frames judged of each video on average and, where only video files were judged, what a second of work gave.

    Args:
        judged: Everything that was judged.
        taken_s: How long that took, in s.
    """
    videos = [(sample, result) for sample, result in judged if is_video(sample) and result.p_fake is not None]
    if not videos:
        return {}
    found = {"frames_per_video": float(np.mean([result.frames for _, result in videos]))}
    if len(by_level(judged)) > 1:
        return found
    lengths_s = [duration_s(sample.path) for sample, _ in videos if not sample.member]
    if len(lengths_s) == len(videos):
        found["video_s_per_s"] = sum(lengths_s) / taken_s
    return found | {"videos_per_s": len(judged) / taken_s}


def describe(reference: DatasetRef, dataset: Dataset, samples: int, limit: int | None = None) -> DatasetInfo:
    """What was measured on, and how many samples that were; a limit that was set is noted."""
    limited = f"at most {limit} files or videos of each source and class" if limit is not None else ""
    return DatasetInfo(
        name=reference.name,
        layout=reference.layout,
        path=reference.path,
        samples=samples,
        sha256=manifest_hash(dataset),
        note="; ".join(filter(None, (reference.note, limited))),
    )


def write_predictions(target: Path, judged: Mapping[str, Sequence[Judged]]) -> None:
    """Write every score as CSV, by variant; the logit is the deciding face's, and empty for a video."""
    with (
        atomic_path(target) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as f,
    ):
        writer = csv.writer(f)
        writer.writerow(PREDICTIONS)
        for variant, rows in judged.items():
            for sample, result in rows:
                score = "" if result.p_fake is None else f"{result.p_fake:.6f}"
                picture = result.faces and result.faces[0].time_s is None
                logit = f"{result.faces[0].logit:.6f}" if picture else ""
                labels = (sample.name, sample.source, sample.group, variant, int(sample.is_fake))
                writer.writerow((*labels, score, logit, result.verdict, len(result.faces), result.error, result.frames))

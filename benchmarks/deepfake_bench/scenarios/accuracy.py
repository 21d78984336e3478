"""Accuracy per source of a labelled dataset, with intervals drawn by groups; nothing is fitted here."""

from __future__ import annotations

import csv
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

from deepfake_bench.jobs import DatasetRef, Job
from deepfake_bench.report import Curves, DatasetInfo, Estimate, SourceAccuracy
from deepfake_bench.scenarios import Outcome
from deepfake_core import metrics
from deepfake_core.data.manifest import manifest_hash
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import VIDEO_SUFFIXES
from deepfake_core.judged import Subset, evenly
from deepfake_core.judged import judged as judge
from deepfake_core.loaded import LoadedDetector
from deepfake_core.results import Result
from deepfake_registry.files import atomic_path

Judged: TypeAlias = tuple[Sample, Result]
_CURVE_POINTS = 100


def measure(detector: LoadedDetector, job: Job) -> Outcome:
    """Score every sample; the mean over sources stands beside each source's own figures.

    Raises:
        TrainingDataError: The dataset holds no samples.
    """
    assert job.dataset is not None, "the plan gives this scenario a dataset"
    dataset = read_dataset(job.dataset, job.limit)
    judged = list(judge(detector, dataset))
    if job.predictions:
        write_predictions(Path(job.predictions), {"": judged})
    threshold = detector.manifest.calibration.threshold
    sources = [source_accuracy(name, rows, threshold) for name, rows in by_source(judged).items()]
    return Outcome(
        metrics=means(sources),
        sources=sources,
        dataset=describe(job.dataset, dataset, len(judged), job.limit),
        conditions={
            "score": "a picture's score is the maximum over its faces, a video's the mean over frames of that maximum",
            "unscored": "samples with no face or an error have no score: see the rates beside the figures",
            "interval": "95 %, percentile bootstrap over groups, 1000 draws; none for the ECE, where it is biased",
            "mean": "over the sources in which the measure is defined: most need both classes",
            "threshold": f"balanced accuracy at the shipped threshold, P(fake) >= {threshold:g}",
        },
    )


def read_dataset(reference: DatasetRef, limit: int | None = None, *, pictures: bool = False) -> Dataset:
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


def is_video(sample: Sample) -> bool:
    """Whether a sample is a video file, by its suffix."""
    return sample.path.suffix.lower() in VIDEO_SUFFIXES


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
) -> SourceAccuracy:
    """Measures on one source, with intervals drawn by groups.

    Args:
        name: Of the source.
        judged: Its samples; those without a score count in the rates alone.
        threshold: The detector's own.
        variant: How the pictures were changed before they were judged.
        only: Names of measures; by default every one.
    """
    scored = [(sample, result.p_fake) for sample, result in judged if result.p_fake is not None]
    fake = np.array([sample.fake for sample, _ in scored], dtype=np.int64)
    p_fake = np.array([score for _, score in scored], dtype=np.float64)
    groups = np.array([sample.group for sample, _ in scored], dtype=str)
    measures: dict[str, metrics.Metric] = {
        "auc": metrics.roc_auc,
        "average_precision": metrics.average_precision,
        "eer": metrics.eer,
        "tpr_at_1pct_fpr": functools.partial(metrics.tpr_at_fpr, fpr=0.01),
        "tpr_at_5pct_fpr": functools.partial(metrics.tpr_at_fpr, fpr=0.05),
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
    total = len(judged)
    labels = np.array([sample.fake for sample, _ in judged])
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
        writer.writerow(["path", "source", "group", "variant", "fake", "p_fake", "logit", "verdict", "faces", "error"])
        for variant, rows in judged.items():
            for sample, result in rows:
                score = "" if result.p_fake is None else f"{result.p_fake:.6f}"
                picture = result.faces and result.faces[0].time_s is None
                logit = f"{result.faces[0].logit:.6f}" if picture else ""
                labels = (sample.name, sample.source, sample.group, variant, sample.fake)
                writer.writerow((*labels, score, logit, result.verdict, len(result.faces), result.error))

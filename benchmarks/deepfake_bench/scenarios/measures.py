"""Measures of accuracy on one source of a dataset, and their means over sources; nothing is fitted here."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from deepfake_bench.records.predictions import Prediction
from deepfake_bench.records.report import SEEN, Curves, Estimate, SourceAccuracy
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.grouping import codes

CALIBRATED = ("accuracy", "balanced_accuracy", "fakes_found", "reals_passed", "ece", "brier")
"""Measures that depend on the calibration or the threshold; the others are of the ranking alone."""
_CURVE_POINTS = 100


def source_accuracy(
    name: str,
    predictions: Sequence[Prediction],
    threshold: float,
    *,
    variant: str = "",
    only: Collection[str] | None = None,
    fitted_here: bool = False,
) -> SourceAccuracy:
    """Compute the measures on one source, with intervals drawn by groups.

    Args:
        name: Name of the source.
        predictions: Predictions of the source; those without a score count in the rates alone.
        threshold: Threshold of the detector.
        variant: How the images were changed before they were scored.
        only: Names of the measures to compute; by default all of them.
        fitted_here: Whether the calibration was fitted on these samples; measures that depend on it are then undefined.
    """
    scored = [(sample, result.p_fake) for sample, result in predictions if result.p_fake is not None]
    fake = np.array([sample.is_fake for sample, _ in scored], dtype=np.int64)
    p_fake = np.array([score for _, score in scored], dtype=np.float64)
    groups = codes([sample.group for sample, _ in scored])
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
    total = len(predictions)
    labels = np.array([sample.is_fake for sample, _ in predictions], dtype=np.int64)
    return SourceAccuracy(
        source=name,
        variant=variant,
        real=int((labels == 0).sum()),
        fake=int((labels == 1).sum()),
        groups=len({sample.group for sample, _ in predictions}),
        no_face_rate=sum(result.verdict == "no_face" for _, result in predictions) / total,
        error_rate=sum(result.verdict == "error" for _, result in predictions) / total,
        unsure_rate=sum(result.verdict == "unsure" for _, result in predictions) / total,
        seen_groups=len({sample.group for sample, result in predictions if SEEN in result.warnings}),
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
    """Return a ROC curve ``float64 [K]`` without points that no diagram could tell apart; its ends stay.

    Curves of few points stay as they are. Of neighbours within 1/20 of a normal deviate in both rates, the unit of the
    axes of a DET diagram (Martin et al. 1997), the first is kept.
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
    """Return label, mean score and number of each group of a class, such as the frames of one video."""
    keys = fake * (groups.max(initial=0) + 1) + groups
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    mean = np.bincount(index, weights=score) / np.bincount(index) if len(fake) else score
    return fake[first], mean, groups[first]


def means(sources: Iterable[SourceAccuracy]) -> dict[str, float]:
    """Return the mean of each measure over the sources where it is defined, and the lowest AUC."""
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
    """Return :func:`means` of each level; where there are both, the names of those of videos begin with ``videos_``."""
    prefix = {level: "videos_" if level == "videos" and len(found) > 1 else "" for level in found}
    return {prefix[level] + name: value for level, rows in found.items() for name, value in means(rows).items()}

"""Accuracy on changed copies of the same images: compressed, reduced, blurred, and all saved in one format.

The last variant checks for a codec shortcut. Where the two classes of a dataset differ in their file format, a
detector can learn the format instead of the faces; once every file has gone through the same size and the same encoder,
such a detector falls to chance.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_bench.records.job import Job
from deepfake_bench.records.predictions import Prediction, by_source, write_predictions
from deepfake_bench.records.report import ORIGINAL, RECODED, Estimate, SourceAccuracy
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.measures import means, source_accuracy
from deepfake_bench.scenarios.samples import describe, mark_seen, read_dataset, refusal
from deepfake_bench.scenarios.variants import Change, notes, variants
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.errors import InputError
from deepfake_core.evaluation.samples import input_of
from deepfake_core.evaluation.significance import grouped_difference
from deepfake_core.handle.predictor import Predictor
from deepfake_core.inputs.decode import decode

MILD = ("jpeg_50", "resize_half", "blur_1")
"""Changes that every picture undergoes sooner or later."""

_MEASURES = ("auc", "balanced_accuracy", "fakes_found", "reals_passed")


def measure(detector: Predictor, job: Job) -> ScenarioResult:
    """Score every variant of every image; ``auc_change`` is paired with the images as they are.

    Raises:
        TrainingDataError: The dataset holds no images.
    """
    assert job.dataset is not None, "the plan gives this scenario a dataset"
    dataset = read_dataset(job.dataset, job.limit, pictures=True)
    changes, left_out = variants(job.variants)
    predictions, seen = mark_seen(_predict(detector, dataset, changes), detector, dataset)
    if job.predictions:
        write_predictions(Path(job.predictions), predictions)
    threshold = detector.manifest.calibration.threshold
    described = describe(job.dataset, dataset, len(predictions[ORIGINAL]), job.limit)
    refused = refusal(detector, dataset, described)
    rows = paired_rows(predictions, ORIGINAL, threshold, fitted_here=bool(refused))
    return ScenarioResult(
        metrics=summary(rows),
        sources=rows,
        dataset=described,
        conditions={
            **refused,
            **seen,
            "list": f"{job.variants}, {len(changes)} variants; the lowest AUC is of these",
            "variants": "made from the decoded picture, before the face finder; sizes and blur in its own pixels",
            **notes(changes),
            **left_out,
            "auc_change": "less the AUC of the same pictures as they are, where both are scored; paired interval",
            "videos": f"left out: {dataset.videos}",
        },
    )


def summary(rows: Sequence[SourceAccuracy]) -> dict[str, float]:
    """Return the metrics of the whole dataset.

    ``auc_VARIANT`` is a mean over sources; ``mild_change`` is its change by that of the :data:`MILD` variants which
    costs most; ``recoded_change`` is the mean change of the AUC by re-encoding, beside that of the source that loses
    most.
    """
    found = {}
    for variant in dict.fromkeys(row.variant for row in rows):
        mean = means(row for row in rows if row.variant == variant)
        if "auc" in mean:
            found[f"auc_{variant}"] = mean["auc"]
    if not found:
        return {}
    changes = [row.metrics["auc_change"].value for row in rows if row.variant == RECODED]
    known = [change for change in changes if change is not None]
    lowest = {"auc_lowest_variant": min(found.values())}
    if all(f"auc_{name}" in found for name in (ORIGINAL, *MILD)):
        lowest["mild_change"] = min(found[f"auc_{name}"] for name in MILD) - found[f"auc_{ORIGINAL}"]
    if known:
        lowest |= {"recoded_change": float(np.mean(known)), "recoded_change_worst_source": min(known)}
    return found | lowest


def _predict(detector: Predictor, dataset: Dataset, changes: Mapping[str, Change]) -> dict[str, list[Prediction]]:
    waiting: deque[Sample] = deque()

    def inputs() -> Iterator[Any]:
        for sample, data in dataset.stream():
            waiting.append(sample)
            yield from _variants(sample, data, changes)

    results = detector.stream(inputs())
    predictions: dict[str, list[Prediction]] = {variant: [] for variant in changes}
    for first in results:
        sample = waiting.popleft()
        # The variants come in the order of their table, that of the unchanged image first.
        for rows, result in zip(predictions.values(), chain([first], results), strict=False):
            rows.append((sample, result))
    return predictions


def _variants(sample: Sample, data: Path | bytes, changes: Mapping[str, Change]) -> Iterator[Any]:
    """Yield one input for each variant; a file that cannot be decoded is passed on, and gives an error each time."""
    try:
        pixels = decode(data).pixels
    except InputError:
        # A path that is no file might be expanded to several inputs.
        one = data if isinstance(data, bytes) or data.is_file() else input_of(sample, data)
        yield from [one] * len(changes)
        return
    for change in changes.values():
        yield change(pixels)


def paired_rows(
    predictions: Mapping[str, Sequence[Prediction]], original: str, threshold: float, *, fitted_here: bool
) -> list[SourceAccuracy]:
    """Compute the measures of each variant on each source, with ``auc_change`` from the variant ``original``.

    Args:
        predictions: Predictions of the same samples, in the same order, by variant.
        original: Variant that was not changed.
        threshold: Threshold of the detector.
        fitted_here: Whether the calibration was fitted on these samples.
    """
    measured = functools.partial(source_accuracy, threshold=threshold, only=_MEASURES, fitted_here=fitted_here)
    unchanged = by_source(predictions[original])
    return [
        _with_change(measured(name, pairs, variant=variant), unchanged[name], pairs)
        for variant, results in predictions.items()
        for name, pairs in by_source(results).items()
    ]


def _with_change(row: SourceAccuracy, original: Sequence[Prediction], changed: Sequence[Prediction]) -> SourceAccuracy:
    """Add ``auc_change``: the AUC of the changed images less that of the same images as they are."""
    both = [
        (sample, before.p_fake, after.p_fake)
        for (sample, before), (_, after) in zip(original, changed, strict=True)
        if before.p_fake is not None and after.p_fake is not None
    ]
    fake = np.array([sample.is_fake for sample, _, _ in both], dtype=np.int64)
    groups = np.array([sample.group for sample, _, _ in both], dtype=str)
    before, after = (np.array([scores[place] for scores in both], dtype=np.float64) for place in (1, 2))

    change = grouped_difference(fake, before, after, groups)
    estimate = Estimate(value=change.value, low=change.low, high=change.high)
    return row.model_copy(update={"metrics": {**row.metrics, "auc_change": estimate}})

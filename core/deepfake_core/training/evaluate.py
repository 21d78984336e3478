"""Evaluation of the packaged model on the test split, once, from the original files as a user would run it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.evaluate import evaluate_units
from deepfake_core.evaluation.grouping import places_by_source
from deepfake_core.evaluation.samples import Subset, is_video
from deepfake_core.progress import stage, track
from deepfake_core.training.runs.files import read_json, to_csv
from deepfake_core.training.runs.rundir import RunDir
from deepfake_registry.files import write_atomic

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

log = logging.getLogger("deepfake.training")


@stage("testing")
def evaluate_test_split(
    loaded: LoadedDetector,
    dataset: Dataset,
    samples: Iterable[Sample],
    run: RunDir,
    beside: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Evaluate a model on the test split, and write ``predictions.csv`` and ``metrics_test.json``.

    Pictures of one group, source and class are the frames of one sequence and count as one sample. Its score is the
    mean of the frames' scores; a detector of clips scores the sequence as a whole. A video file is a sample of its own.
    A sample that cannot be read or has no face has no score; it is counted, and listed with its verdict.

    Args:
        loaded: Trained model.
        dataset: Dataset that reads the samples.
        samples: Samples of the test split.
        run: Folder of the run. If it holds a ``metrics_test.json``, nothing is measured, and its content is returned.
        beside: Sources whose real samples stand beside the fakes of a source that has none.

    Returns:
        ``auc``, ``accuracy``, ``pr_auc``, ``precision``, ``recall``, ``f1``, ``eer``, ``count``, ``no_face``,
        ``error``, and ``sources`` with each source's ``auc`` and ``count``.

    Raises:
        TrainingDataError: There is no test sample.
    """
    done = read_json(run.folder / "metrics_test.json")
    if done:
        log.info("the test split was measured before; metrics_test.json is kept")
        return done
    listed = list(samples)
    if not listed:
        raise TrainingDataError(f"{dataset.root}: no sample of the test split")
    rows: dict[tuple[str, str, bool], dict[str, Any]] = {}
    scores: dict[tuple[str, str, bool], list[float]] = {}
    judged = evaluate_units(loaded, Subset(dataset, listed))
    for unit, result in track(judged, "judging test samples", total=len(listed), unit="samples"):
        sample = unit[0]
        own = is_video(sample, result)
        key = (sample.name if own else sample.group, sample.source, sample.is_fake)
        row = rows.setdefault(
            key,
            {"sample": relative_name(sample, folder_of(dataset)), "source": sample.source, "group": sample.group,
             "fake": int(sample.is_fake), "p_fake": "", "verdict": result.verdict, "files": 0,
             "error": result.error or ""},
        )  # fmt: skip
        row["files"] += len(unit)
        if result.p_fake is not None:
            scores.setdefault(key, []).append(result.p_fake)
    for key, values in scores.items():
        p_fake = float(np.mean(values))
        rows[key] |= {"p_fake": round(p_fake, 6), "verdict": loaded.manifest.calibration.verdict(p_fake), "error": ""}
    summary = summarise(list(rows.values()), loaded.manifest.calibration.threshold, beside)
    write_atomic(run.folder / "predictions.csv", to_csv(list(rows.values())))
    run.write_json("metrics_test.json", summary)
    return summary


def summarise(
    rows: list[dict[str, Any]], threshold: float, beside: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Return the metrics of the test split.

    Args:
        rows: Rows of ``predictions.csv``.
        threshold: Threshold on P(fake), that of the calibration.
        beside: Sources whose real samples stand beside the fakes of a source that has none.
    """
    scored = [row for row in rows if row["p_fake"] != ""]
    fake = np.array([row["fake"] for row in scored], float)
    p_fake = np.array([row["p_fake"] for row in scored], float)
    source = np.array([row["source"] for row in scored])
    precision, recall, f1 = metrics.precision_recall_f1(fake, p_fake, threshold)
    return {
        "auc": metrics.roc_auc(fake, p_fake),
        "accuracy": metrics.accuracy(fake, p_fake, threshold),
        "pr_auc": metrics.average_precision(fake, p_fake),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "eer": metrics.eer(fake, p_fake),
        "threshold": threshold,
        "count": len(scored),
        "no_face": sum(row["verdict"] == "no_face" for row in rows),
        "error": sum(row["verdict"] == "error" for row in rows),
        "sources": {
            name: {"auc": metrics.roc_auc(fake[here], p_fake[here]), "count": len(here)}
            for name, here in places_by_source(source, fake, beside).items()
        },
    }

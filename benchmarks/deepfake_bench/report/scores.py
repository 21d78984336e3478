"""Questions to the predictions that ``dfbench run --out`` wrote: two detectors, subgroups of files, crossed sources.

No file is scored again. Images and videos are never in one figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfake_bench.records.predictions import Prediction, Predictions, by_level, by_source, read_predictions
from deepfake_bench.records.report import ORIGINAL, Estimate, SourceAccuracy
from deepfake_bench.scenarios.measures import source_accuracy
from deepfake_core.datasets import Sample
from deepfake_core.datasets.labels import some
from deepfake_core.datasets.tables import rows
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.grouping import codes
from deepfake_core.evaluation.significance import Difference, auc_difference

SUBGROUP_MEASURES = ("auc", "fakes_found", "reals_passed")


def chosen(scores: Predictions, variant: str | None, file: Path) -> list[Prediction]:
    """Return the predictions of one variant; by default of the only one, or of the images as they are.

    Args:
        scores: Predictions by variant.
        variant: Name of the variant; ``None`` for the default.
        file: File that they are from, for messages.

    Raises:
        TrainingDataError: There is no such variant.
    """
    name = variant if variant is not None else ORIGINAL if ORIGINAL in scores else next(iter(scores))
    if name not in scores or (variant is None and len(scores) > 1 and name != ORIGINAL):
        raise TrainingDataError(f"{file}: name one of its variants: {', '.join(map(repr, scores))}")
    return scores[name]


# ── two detectors ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RankingComparison:
    """Two detectors on the files of one source that both of them scored.

    Attributes:
        source: Source of the files.
        variant: Variant of the files.
        level: ``pictures`` or ``videos``.
        real: Number of real files that both scored.
        fake: Number of fake files that both scored.
        unscored: Number of files that one of them or both gave no score.
        first: AUC of the first detector.
        second: AUC of the second detector.
        difference: AUC of the second detector, less that of the first.
    """

    source: str
    variant: str
    level: str
    real: int
    fake: int
    unscored: int
    first: float
    second: float
    difference: Difference


def versus(first: Path, second: Path) -> list[RankingComparison]:
    """Compare the rankings of two detectors, by source and variant.

    Raises:
        TrainingDataError: A file is no CSV of predictions, or the two are of other files or labels.
    """
    ours, theirs = read_predictions(first), read_predictions(second)
    _check_same(first, ours, second, theirs)
    found = []
    for variant, predictions in ours.items():
        other = {pair[0].name: pair[1] for pair in theirs[variant]}
        for level, at_level in by_level(predictions).items():
            for source, pairs in by_source(at_level).items():
                both = [(sample, result.p_fake, other[sample.name].p_fake) for sample, result in pairs]
                found.append(_compared(source, variant, level, both))
    return found


def _compared(
    source: str, variant: str, level: str, both: Sequence[tuple[Sample, float | None, float | None]]
) -> RankingComparison:
    scored = [(sample, one, two) for sample, one, two in both if one is not None and two is not None]
    fake = np.array([sample.is_fake for sample, _, _ in scored], dtype=np.int64)
    groups = codes([sample.group for sample, _, _ in scored])
    first, second = (np.array([row[place] for row in scored], dtype=np.float64) for place in (1, 2))
    return RankingComparison(
        source,
        variant,
        level,
        int((fake == 0).sum()),
        int((fake == 1).sum()),
        len(both) - len(scored),
        metrics.roc_auc(fake, first),
        metrics.roc_auc(fake, second),
        auc_difference(fake, first, second, groups),
    )


def _check_same(first: Path, ours: Predictions, second: Path, theirs: Predictions) -> None:
    facts = [
        {(variant, sample.name): sample for variant, pairs in scores.items() for sample, _ in pairs}
        for scores in (ours, theirs)
    ]
    for one, other, file, missing_in in ((0, 1, first, second), (1, 0, second, first)):
        extra = [" ".join(filter(None, key)) for key in facts[one] if key not in facts[other]]
        if extra:
            raise TrainingDataError(
                f"{missing_in}: lacks {len(extra)} of the {len(facts[one])} files of {file}: {some(extra)}; run both "
                "detectors on the same dataset"
            )
    other_facts = [key[1] for key, sample in facts[0].items() if facts[1][key] != sample]
    if other_facts:
        raise TrainingDataError(
            f"{second}: {len(other_facts)} files have another label, source or group than in {first}: "
            f"{some(other_facts)}; run both detectors on the same dataset"
        )


# ── subgroups ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Gap:
    """Largest difference of a measure between two subgroups."""

    measure: str
    gap: float
    lowest: str
    highest: str


def subgroups(
    predictions: Iterable[Prediction], metadata: Path, column: str, root: Path, threshold: float
) -> tuple[dict[str, list[SourceAccuracy]], int]:
    """Compute the accuracy for each value of a column of metadata.

    Args:
        predictions: Samples with their results.
        metadata: CSV file with the columns ``path`` and ``column``; others are ignored.
        column: Name of the column that divides the files.
        root: Folder that paths of the metadata are relative to, where they are not those of the predictions.
        threshold: P(fake) from which a file is called fake.

    Returns:
        Accuracy of each subgroup by level (``pictures``, ``videos``), and the number of samples without a value.

    Raises:
        TrainingDataError: The metadata cannot be read, lack the column, or describe other files.
    """
    values: dict[str, str] = {}
    for _, cells in rows(metadata, ("path", column)):
        for name in (cells["path"], str(root / cells["path"])):
            values[name] = cells[column]
    pairs = list(predictions)
    known = [pair for pair in pairs if values.get(pair[0].name)]
    if not known:
        raise TrainingDataError(
            f"{metadata}: no row with a {column} is of a measured file, such as {pairs[0][0].name}; name the folder "
            "that its paths are relative to by --root"
        )
    found: dict[str, list[SourceAccuracy]] = {}
    for level, at_level in by_level(known).items():
        members: dict[str, list[Prediction]] = {}
        for pair in at_level:
            members.setdefault(values[pair[0].name], []).append(pair)
        found[level] = [
            source_accuracy(name, members[name], threshold, only=SUBGROUP_MEASURES) for name in sorted(members)
        ]
    return found, len(pairs) - len(known)


def gaps(found: Sequence[SourceAccuracy]) -> list[Gap]:
    """Return the largest gap of each measure that is defined in two subgroups or more."""
    widest = []
    for measure in SUBGROUP_MEASURES:
        known = [(row.metrics[measure].value, row.source) for row in found]
        ranked = sorted((value, name) for value, name in known if value is not None)
        if len(ranked) > 1:
            widest.append(Gap(measure, ranked[-1][0] - ranked[0][0], ranked[0][1], ranked[-1][1]))
    return widest


# ── crossed sources ──────────────────────────────────────────────────────────────────────────────────────────


def crossed(predictions: Sequence[Prediction]) -> dict[tuple[str, str], Estimate]:
    """Return the AUC of the real files of each source against the fakes of each source.

    Where a detector does well within sources and badly across them, it has learnt the sources.

    Returns:
        (source of reals, source of fakes) → AUC.
    """
    parts = {
        fake: by_source(pair for pair in predictions if pair[0].is_fake == fake and pair[1].p_fake is not None)
        for fake in (0, 1)
    }
    return {
        (real, fake): source_accuracy(f"{real} × {fake}", [*reals, *fakes], 0.5, only=("auc",)).metrics["auc"]
        for real, reals in parts[0].items()
        for fake, fakes in parts[1].items()
    }

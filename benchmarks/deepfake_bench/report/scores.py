"""Questions to the scores that ``dfbench run --out`` wrote: two detectors, subgroups of files, crossed sources.

Nothing is judged again. Pictures and videos are never in one figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast, get_args

import numpy as np

from deepfake_bench.records.report import Estimate, SourceAccuracy
from deepfake_bench.scenarios.accuracy import Judged, by_level, by_source, source_accuracy
from deepfake_bench.scenarios.variants import ORIGINAL
from deepfake_core.datasets import Sample
from deepfake_core.datasets.labels import some
from deepfake_core.datasets.tables import rows
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.significance import Difference, auc_difference
from deepfake_core.handle.results import Result, Verdict

Scores: TypeAlias = dict[str, list[Judged]]
"""Variant → samples with their scores; the variant of files as they are is empty."""

COLUMNS = ("path", "source", "group", "variant", "fake", "p_fake", "verdict", "error")
"""What is read of the CSV file."""
SUBGROUP_MEASURES = ("auc", "fakes_found", "reals_passed")


def read_scores(file: Path) -> Scores:
    """Read a CSV file of predictions.

    Raises:
        TrainingDataError: It is none, or lists a file twice.
    """
    found: Scores = {}
    seen: set[tuple[str, str]] = set()
    for line, cells in rows(file, COLUMNS):
        where = f"{file}: row {line}"
        key = cells["variant"], cells["path"]
        if key in seen:
            raise TrainingDataError(f"{where}: {cells['path']} is there twice; write it anew by dfbench run --out")
        seen.add(key)
        if cells["fake"] not in ("0", "1") or cells["verdict"] not in get_args(Verdict):
            raise TrainingDataError(f"{where}: is no prediction; write it anew by dfbench run --out")
        found.setdefault(cells["variant"], []).append(_judged(cells, where))
    if not found:
        raise TrainingDataError(f"{file}: holds no prediction; write it anew by dfbench run --out")
    return found


def _judged(cells: Mapping[str, str], where: str) -> Judged:
    try:
        p_fake = float(cells["p_fake"]) if cells["p_fake"] else None
    except ValueError:
        raise TrainingDataError(f"{where}: p_fake is {cells['p_fake']!r}; expected a number or nothing") from None
    if p_fake is not None and not 0 <= p_fake <= 1:
        raise TrainingDataError(f"{where}: p_fake is {p_fake:g}; expected a number from 0 to 1")
    sample = Sample(Path(cells["path"]), cells["fake"] == "1", cells["source"], cells["group"])
    verdict = cast("Verdict", cells["verdict"])
    return sample, Result(cells["path"], verdict, p_fake, (), "", "", error=cells["error"])


def chosen(scores: Scores, variant: str | None, file: Path) -> list[Judged]:
    """The scores of one variant; by default the only one, or the pictures as they are.

    Raises:
        TrainingDataError: There is no such variant.
    """
    name = variant if variant is not None else ORIGINAL if ORIGINAL in scores else next(iter(scores))
    if name not in scores or (variant is None and len(scores) > 1 and name != ORIGINAL):
        raise TrainingDataError(f"{file}: name one of its variants: {', '.join(map(repr, scores))}")
    return scores[name]


# ── two detectors ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Versus:
    """Two detectors on the files of one source that both of them scored.

    Attributes:
        source, variant, level: Which files; the level is ``pictures`` or ``videos``.
        real, fake: Files of each class.
        unscored: Files that one of them or both gave no score.
        first, second: AUC of each.
        difference: Of the second, less the first.
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


def versus(first: Path, second: Path) -> list[Versus]:
    """Compare the rankings of two detectors, by source and variant.

    Raises:
        TrainingDataError: A file is no CSV of predictions, or the two are of other files or labels.
    """
    ours, theirs = read_scores(first), read_scores(second)
    _check_same(first, ours, second, theirs)
    found = []
    for variant, judged in ours.items():
        other = {pair[0].name: pair[1] for pair in theirs[variant]}
        for level, at_level in by_level(judged).items():
            for source, pairs in by_source(at_level).items():
                both = [(sample, result.p_fake, other[sample.name].p_fake) for sample, result in pairs]
                found.append(_compared(source, variant, level, both))
    return found


def _compared(
    source: str, variant: str, level: str, both: Sequence[tuple[Sample, float | None, float | None]]
) -> Versus:
    scored = [(sample, one, two) for sample, one, two in both if one is not None and two is not None]
    fake = np.array([sample.is_fake for sample, _, _ in scored], dtype=np.int64)
    groups = np.array([sample.group for sample, _, _ in scored], dtype=str)
    first, second = (np.array([row[place] for row in scored], dtype=np.float64) for place in (1, 2))
    return Versus(
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


def _check_same(first: Path, ours: Scores, second: Path, theirs: Scores) -> None:
    facts = [
        {(variant, sample.name): sample for variant, judged in scores.items() for sample, _ in judged}
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
    """The largest difference of a measure between two subgroups."""

    measure: str
    gap: float
    lowest: str
    highest: str


def subgroups(
    judged: Iterable[Judged], metadata: Path, column: str, root: Path, threshold: float
) -> tuple[dict[str, list[SourceAccuracy]], int]:
    """Accuracy by the value of a column of metadata.

    Args:
        judged: Samples with their scores.
        metadata: CSV file with the columns ``path`` and ``column``; others are passed over.
        column: What divides the files.
        root: Folder that paths of the metadata are relative to, where they are not as in the predictions.
        threshold: P(fake) from which a file is called fake.

    Returns:
        Rows by level (``pictures``, ``videos``), and how many samples have no row or a blank one.

    Raises:
        TrainingDataError: The metadata cannot be read, lack the column, or are of other files.
    """
    values: dict[str, str] = {}
    for _, cells in rows(metadata, ("path", column)):
        for name in (cells["path"], str(root / cells["path"])):
            values[name] = cells[column]
    pairs = list(judged)
    known = [pair for pair in pairs if values.get(pair[0].name)]
    if not known:
        raise TrainingDataError(
            f"{metadata}: no row with a {column} is of a judged file, such as {pairs[0][0].name}; name the folder that "
            "its paths are relative to by --root"
        )
    found: dict[str, list[SourceAccuracy]] = {}
    for level, at_level in by_level(known).items():
        members: dict[str, list[Judged]] = {}
        for pair in at_level:
            members.setdefault(values[pair[0].name], []).append(pair)
        found[level] = [
            source_accuracy(name, members[name], threshold, only=SUBGROUP_MEASURES) for name in sorted(members)
        ]
    return found, len(pairs) - len(known)


def gaps(found: Sequence[SourceAccuracy]) -> list[Gap]:
    """The largest gap of each measure that is defined in two subgroups or more."""
    widest = []
    for measure in SUBGROUP_MEASURES:
        known = [(row.metrics[measure].value, row.source) for row in found]
        ranked = sorted((value, name) for value, name in known if value is not None)
        if len(ranked) > 1:
            widest.append(Gap(measure, ranked[-1][0] - ranked[0][0], ranked[0][1], ranked[-1][1]))
    return widest


# ── crossed sources ──────────────────────────────────────────────────────────────────────────────────────────


def crossed(judged: Sequence[Judged]) -> dict[tuple[str, str], Estimate]:
    """AUC of the real files of one source against the fakes of another: ``(source of reals, source of fakes)`` → AUC.

    Where a detector does well within sources and badly across them, it knows the sources.
    """
    parts = {
        fake: by_source(pair for pair in judged if pair[0].is_fake == fake and pair[1].p_fake is not None)
        for fake in (0, 1)
    }
    return {
        (real, fake): source_accuracy(f"{real} × {fake}", [*reals, *fakes], 0.5, only=("auc",)).metrics["auc"]
        for real, reals in parts[0].items()
        for fake, fakes in parts[1].items()
    }

"""Compare two recipes by what they make of the same sources, each left out: paired, face by face."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import DeepfakeError
from deepfake_core.evaluation.metrics import Metric
from deepfake_core.evaluation.significance import grouped_difference
from deepfake_core.training.leave_out import figures
from deepfake_core.training.leave_out.figures import Scores, mean_auc, mean_share
from deepfake_core.training.leave_out.results import MEASURES, LeaveOneOut, Measure, read_results
from deepfake_core.training.recipes.settings import differences
from deepfake_registry.manifest import Frozen

LOWER_IS_BETTER = ("false_fake",)


class Change(Frozen):
    """Change of one measure on the same faces.

    Attributes:
        source: Source that was left out; empty for the mean over ``sources``.
        sources: Sources that the figures are over.
        measure: The measure.
        before: Value of the first folder.
        after: Value of the second folder.
        change: ``after - before``.
        low: Lower end of its 95 % interval; ``None`` where there is none.
        high: Upper end of its 95 % interval; ``None`` where there is none.
        p_value: Two-sided p-value if the recipes did not differ; ``None`` where there is none.
        faces: Number of faces that both have judged.
        verdict: What the interval says.
    """

    source: str
    sources: tuple[str, ...]
    measure: Measure
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    p_value: float | None
    faces: int
    verdict: Literal["better", "worse", "no change"]


class Versus(Frozen):
    """Comparison of two folders of results.

    Attributes:
        before: First folder.
        after: Second folder.
        changes: Changes of the means, then those of each source.
        differs: Settings in which the runs differ.
        before_only: Sources that only the first folder has.
        after_only: Sources that only the second folder has.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    differs: tuple[str, ...] = ()
    before_only: tuple[str, ...] = ()
    after_only: tuple[str, ...] = ()

    @property
    def worse(self) -> tuple[Change, ...]:
        """Means that have become worse."""
        return tuple(one for one in self.changes if not one.source and one.verdict == "worse")


def versus(before: str | Path, after: str | Path) -> Versus:
    """Compare two folders of results on the sources and faces that both have.

    Intervals and p-values are from a bootstrap that draws whole groups, the same for both. Those of a mean are joint: a
    face that several sources are compared with is drawn once for all of them.

    Args:
        before: Folder of :func:`~deepfake_core.training.leave_out.runs.leave_one_out`, of the recipe of reference.
        after: Folder of the other recipe.

    Raises:
        DeepfakeError: A folder holds no results, or they have no source in common.
    """
    first, second = read_results(before), read_results(after)
    runs = [{row.source: row.run for row in result.sources} for result in (first, second)]
    common = [row.source for row in first.sources if row.source in runs[1]]
    if not common:
        raise DeepfakeError(f"{before} and {after}: have no source in common that was left out")
    pairs = [
        _common(Scores.read(Path(before) / runs[0][name]), Scores.read(Path(after) / runs[1][name])) for name in common
    ]
    changes = []
    for measure in MEASURES:
        chosen = [(name, *_faces(measure, *pair)) for name, pair in zip(common, pairs, strict=True)]
        known = [one for one in chosen if one[1] is not None]
        if len(known) > 1:
            changes.append(_change("", measure, known))
        changes += [_change(one[0], measure, [one]) for one in known]
    order = {name: number for number, name in enumerate(["", *common])}
    return Versus(
        before=str(before),
        after=str(after),
        changes=tuple(sorted(changes, key=lambda one: order[one.source])),
        differs=tuple(_differences(first, second)),
        before_only=tuple(name for name in runs[0] if name not in runs[1]),
        after_only=tuple(name for name in runs[1] if name not in runs[0]),
    )


def _common(first: Scores, second: Scores) -> tuple[Scores, Scores]:
    """Return the faces that both have, in the same order."""
    _, ours, theirs = np.intersect1d(first.name, second.name, return_indices=True)
    return first[ours], second[theirs]


def _faces(measure: Measure, first: Scores, second: Scores) -> tuple[Scores, Scores] | tuple[None, None]:
    """Return the faces that a measure is over; nothing where there are none."""
    fake = first.fake == 1
    if measure == "auc":
        return (first, second) if fake.any() and not fake.all() else (None, None)
    chosen = first.left_out & ~fake if measure == "false_fake" else fake
    return (first[chosen], second[chosen]) if chosen.any() else (None, None)


def _change(source: str, measure: Measure, known: Sequence[Any]) -> Change:
    runs = [pair for _, *pair in known]
    run = np.repeat(np.arange(len(runs)), [len(first) for first, _ in runs])
    fake, of, group = (_joined(runs, 0, field) for field in ("fake", "source", "group"))
    twice = np.tile(run, 2)
    metric: Metric
    if measure == "auc":
        scores = np.concatenate([_joined(runs, side, "p_fake") for side in (0, 1)])
        metric = mean_auc(scores, np.tile(of, 2), twice)
    else:
        field = "found" if measure == "found" else "called_fake"
        metric = mean_share(np.concatenate([_joined(runs, side, field) for side in (0, 1)]), twice)
    # Instead of scores, the metric takes places: those of the first recipe, and behind them those of the second.
    count = len(run)
    here = np.arange(count, dtype=np.float64)
    found = grouped_difference(fake, here, here + count, group, metric, figures.DRAWS)
    low, high, p_value = (None if math.isnan(one) else round(one, 6) for one in (found.low, found.high, found.p_value))
    return Change(
        source=source,
        sources=tuple(name for name, *_ in known),
        measure=measure,
        before=round(metric(fake, here), 6),
        after=round(metric(fake, here + count), 6),
        change=round(found.value, 6),
        low=low,
        high=high,
        p_value=p_value,
        faces=count,
        verdict=_verdict(measure, low, high),
    )


def _joined(runs: Sequence[Any], side: int, field: str) -> NDArray[Any]:
    return np.concatenate([getattr(pair[side], field) for pair in runs])


def _verdict(measure: Measure, low: float | None, high: float | None) -> Literal["better", "worse", "no change"]:
    if low is None or high is None or low <= 0 <= high:
        return "no change"
    return "better" if (low > 0) != (measure in LOWER_IS_BETTER) else "worse"


def _differences(first: LeaveOneOut, second: LeaveOneOut) -> list[str]:
    said = differences(first.recipe, second.recipe)
    said += [
        f"{name}: {getattr(first, name)} → {getattr(second, name)}"
        for name in ("detector", "config", "faces")
        if getattr(first, name) != getattr(second, name)
    ]
    return said + (["data: prepared from other files or in another way"] if first.content != second.content else [])

"""Measure how well numbers that have nothing to do with forgery tell the classes of each source apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake_core.data.audit.features import NAMES
from deepfake_core.data.audit.result import ALL, Auc, Finding, Shortcuts, SourceAudit, Values
from deepfake_core.datasets.labels import some
from deepfake_core.datasets.sources import shared_reals
from deepfake_core.errors import MissingExtra, TrainingDataError
from deepfake_core.evaluation.clustered_auc import ClusteredAuc, clustered_auc
from deepfake_core.evaluation.grouping import places
from deepfake_core.evaluation.probes import FOLDS, out_of_fold
from deepfake_core.progress import track

FEWEST = 20
"""Samples of each class that a source needs: with fewer, chance alone gives high numbers."""

EVERY = "*"
"""Name that stands for all other sources, as a source that lends the class that another one lacks."""

DRAWN = 3
"""Findings whose values are kept for the picture."""

_CHANCE = 0.05  # chance that any number of any source differs from 0.5 by chance and is called certain
_PENALTY = 1000.0  # of the linear model: random features are hundreds, and strongly correlated


def audit(
    table: NDArray[np.float32],
    names: Sequence[str],
    fake: ArrayLike,
    group: ArrayLike,
    source: ArrayLike,
    *,
    seed: int = 0,
    baseline: NDArray[np.float32] | None = None,
    beside: Mapping[str, Sequence[str]] | None = None,
) -> Shortcuts:
    """Measure the AUC of the class by each number alone, by all of them together, and by a baseline, per source.

    Numbers of the same group are never on both sides of a division. Numbers that are not known are ``nan``; one that is
    known of too few samples of a class, or the same for all, is left out for that source.

    Args:
        table: Numbers, ``float32 [N, F]``.
        names: Names of the F numbers.
        fake: Labels ``[N]`` in {0, 1}; 1 is fake.
        group: Group of each sample ``[N]``.
        source: Source of each sample ``[N]``.
        seed: Seed of the divisions and of the models.
        baseline: Frozen random features, ``float32 [N, D]``.
        beside: Source with one class → sources that lend it the other class; ``("*",)`` for all other sources. Parts
            ``COLLECTION/PART`` of a collection share its real samples without it.

    Raises:
        MissingExtra: scikit-learn is absent.
        TrainingDataError: No source can be audited, or ``beside`` names an unknown source.
    """
    label, groups, sources = np.asarray(fake).astype(np.int64), np.asarray(group), np.asarray(source)
    samples = _Samples(np.asarray(table, np.float32), tuple(names), label, groups, baseline)
    scopes = _scopes(sources, label, beside or {})
    problems = [samples.problem(scope.rows) for scope in scopes]
    if all(problems):
        said = some([f"{scope.source} has {problem}" for scope, problem in zip(scopes, problems, strict=True)])
        raise TrainingDataError(
            f"nothing to audit: {said}; it takes {FEWEST} samples of both classes from {FOLDS} groups of each; name "
            "the sources that stand beside those with one class (beside)"
        )
    tests = (len(names) + 2) * problems.count("")
    found = tuple(
        samples.audited(scope, seed, 1 - _CHANCE / tests)
        for scope in track(scopes, "comparing classes", unit="sources")
    )
    result = Shortcuts(found)
    strongest: dict[str, Finding] = {}
    for finding in result.worst:
        strongest.setdefault(finding.feature, finding)
    rows = {scope.source: scope.rows for scope in scopes}
    kept = [(one.source, one.feature) for one in list(strongest.values())[:DRAWN]]
    return replace(result, values={key: samples.values(rows[key[0]], key[1]) for key in kept})


@dataclass(frozen=True)
class _Scope:
    """Samples that are compared with each other."""

    source: str
    rows: NDArray[np.intp]
    beside: tuple[str, ...] = ()


def _scopes(sources: NDArray[np.str_], fake: NDArray[np.int64], beside: Mapping[str, Sequence[str]]) -> list[_Scope]:
    own = {str(name): here for name, here in places(sources).items()}
    unknown = sorted({*beside, *(name for names in beside.values() for name in names)} - {*own, EVERY})
    if unknown:
        raise TrainingDataError(f"beside: no source is called {unknown[0]!r}; there are {some(sorted(own))}")
    both = {name: np.unique(fake[here]) for name, here in own.items()}
    shared = shared_reals(
        [name for name, labels in both.items() if 0 in labels], [name for name, labels in both.items() if 1 in labels]
    )
    scopes = []
    for name, here in own.items():
        lenders = beside.get(name, shared.get(name, ()) if len(both[name]) < 2 else ())
        if EVERY in lenders:
            lenders = [other for other in own if other != name]
        missing = [label for label in (0, 1) if label not in both[name]]
        lent = {other: own[other][np.isin(fake[own[other]], missing)] for other in lenders}
        rows = np.concatenate([here, *lent.values()])
        scopes.append(_Scope(name, rows, tuple(other for other, places in lent.items() if len(places))))
    if all(len(scope.rows) < len(fake) for scope in scopes):
        scopes.append(_Scope(ALL, np.arange(len(fake))))
    return scopes


@dataclass(frozen=True)
class _Samples:
    table: NDArray[np.float32]
    names: tuple[str, ...]
    fake: NDArray[np.int64]
    groups: NDArray[np.str_]
    baseline: NDArray[np.float32] | None

    def values(self, rows: NDArray[np.intp], name: str) -> Values:
        column, fake = self.table[rows, self.names.index(name)], self.fake[rows]
        known = ~np.isnan(column)
        return column[known & (fake == 0)], column[known & (fake == 1)]

    def problem(self, rows: NDArray[np.intp]) -> str:
        """Return why samples cannot be compared; ``""`` where they can."""
        fake = self.fake[rows]
        count = np.bincount(fake, minlength=2)
        if not count.all():
            return "fakes only" if count[1] else "real faces only"
        if count.min() < FEWEST:
            return "too few samples"
        if min(len(np.unique(self.groups[rows[fake == label]])) for label in (0, 1)) < FOLDS:
            return "too few groups"
        return ""

    def audited(self, scope: _Scope, seed: int, level: float) -> SourceAudit:
        """Compare the classes of one source; ``level`` is the coverage of an interval that must not hold 0.5."""
        rows, fake, groups = scope.rows, self.fake[scope.rows], self.groups[scope.rows]
        real, shown = np.bincount(fake, minlength=2).tolist()
        cell = SourceAudit(scope.source, real, shown, scope.beside, self.problem(rows))
        if cell.problem:
            return cell
        found = []
        for place, name in enumerate(self.names):
            column = self.table[rows, place]
            known = ~np.isnan(column)
            if np.bincount(fake[known], minlength=2).min() < FEWEST or np.ptp(column[known]) == 0:
                continue
            auc = clustered_auc(fake[known], column[known], groups[known])
            larger = auc.value >= 0.5
            folded = auc if larger else replace(auc, value=1 - auc.value)
            medians = (float(np.median(column[known & (fake == one)])) for one in (0, 1))
            found.append(Finding(scope.source, name, _judged(folded, level), "fake" if larger else "real", *medians))
        used = [self.names.index(finding.feature) for finding in found]
        shown_by_pixels = [place for place in used if self.names[place] in NAMES]
        together = self._boosted(used, scope, seed, level)
        return replace(
            cell,
            findings=tuple(sorted(found, key=lambda finding: -finding.auc.value)),
            together=together,
            seen=together if shown_by_pixels == used else self._boosted(shown_by_pixels, scope, seed, level),
            baseline=None
            if self.baseline is None
            else self._probed(self.baseline[rows], scope, _linear(), "decision_function", seed, level),
        )

    def _boosted(self, columns: list[int], scope: _Scope, seed: int, level: float) -> Auc | None:
        if not columns:
            return None
        features = self.table[scope.rows][:, columns]
        return self._probed(features, scope, boosted(seed), "predict_proba", seed, level)

    def _probed(
        self, features: NDArray[np.float32], scope: _Scope, model: object, method: str, seed: int, level: float
    ) -> Auc:
        fake, groups = self.fake[scope.rows], self.groups[scope.rows]
        score = out_of_fold(model, features, fake, groups, method=method, seed=seed)
        return _judged(clustered_auc(fake, score, groups), level)


def _judged(auc: ClusteredAuc, level: float) -> Auc:
    low, high = auc.interval()
    least = auc.interval(level)[0]
    return Auc(auc.value, low, high, not math.isnan(least) and least > 0.5)


def boosted(seed: int) -> object:
    """Return the classifier that tells the classes apart by all numbers together.

    Raises:
        MissingExtra: scikit-learn is absent.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ModuleNotFoundError as error:
        raise MissingExtra("the audit of shortcuts", "deepfake-core[data]") from error
    # Weights of the classes would change no ranking much, and scikit-learn sorts every column many times for them.
    return HistGradientBoostingClassifier(
        learning_rate=0.15, max_iter=40, max_leaf_nodes=15, max_bins=64, early_stopping=False, random_state=seed
    )


def _linear() -> object:
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeClassifier(alpha=_PENALTY, class_weight="balanced"))

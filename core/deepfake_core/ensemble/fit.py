"""Fit the weights and the calibration of an ensemble on labelled data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.manifest import manifest_hash
from deepfake_core.data.seen import refuse_seen, seen_by
from deepfake_core.datasets.labels import counted, labels_read
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.ensemble.runtime import MEMBERS
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.calibration import balanced_weights, fit_calibration, sigmoid
from deepfake_core.evaluation.evaluate import evaluate
from deepfake_core.evaluation.validated import validated

if TYPE_CHECKING:
    from deepfake_core.datasets import Dataset
    from deepfake_core.handle.predictor import Predictor
    from deepfake_registry.manifest import Calibration

log = logging.getLogger("deepfake.ensemble")

Floats = NDArray[np.float64]

PULL = 0.01
"""Strength of the penalty that pulls the weights towards equal ones, beside a mean cross-entropy: with few data,
members that agree keep equal weights."""
FOLDS = 5
"""Number of folds of the cross-validation."""
SEED = 0

_STEPS = 20_000
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Calibrated logits of the members on labelled faces.

    Attributes:
        logit: Calibrated logits, float64 ``[N, members]``.
        fake: Labels, float64 ``[N]`` in {0, 1}.
        family: Source of each sample, ``[N]``.
        group: Group of each sample that a split must not divide, such as a video, ``[N]``.
    """

    logit: Floats
    fake: Floats
    family: NDArray[np.str_]
    group: NDArray[np.str_]


def fitted(
    ensemble: Predictor,
    members: Sequence[Predictor],
    data: str | Path | Dataset,
    frames: int,
    *,
    allow_seen: bool = False,
) -> tuple[tuple[float, ...], Calibration, dict[str, Any]]:
    """Fit an ensemble on labelled data, see :meth:`~deepfake_core.ensemble.ensemble.Ensemble.fit`.

    Args:
        ensemble: Ensemble of the members, which judges the data.
        members: Members of the ensemble.
        data: Labelled dataset, or its path.
        frames: Number of frames to judge of each video file.
        allow_seen: Whether members may have been trained on groups of the data.

    Returns:
        Weights of the members, which sum to 1; calibration; and metrics of the fit for the manifest.

    Raises:
        TrainingDataError: A member was trained on groups of the data; the data lack a class, a member ranks them the
            wrong way round, or no member is better than chance.
    """
    dataset = open_dataset(data) if isinstance(data, str | Path) else data
    seen = _seen_before(members, dataset, allow_seen=allow_seen)
    rows = _rows(ensemble, len(members), dataset, frames)
    said = _check(rows, members, dataset)
    weights = fit_weights(rows.logit, rows.fake, rows.family)
    if weights.sum() <= 0:
        raise TrainingDataError(
            f"{dataset.root}: no member tells its fakes from its reals, so none can be given weight"
        )
    weights /= weights.sum()
    name = f"{dataset.root.name or dataset.root}: {len(rows.fake)} faces"
    facts = _of(dataset, rows)
    said = [*_fitted_on_before(members, seen, facts["data_sha256"], dataset), *said]
    for sentence in said:
        log.warning("%s", sentence)
    logit = rows.logit @ weights
    calibration = fit_calibration(logit, rows.fake, rows.family, name, (facts["data_sha256"],), rows.group)
    figures = validated(logit, rows.fake, rows.family, calibration, rows.group)
    fit = {**_aucs(rows, weights, members), **facts, "warnings": said}
    return tuple(weights.tolist()), calibration, {"fit": fit, **figures}


def fit_weights(logit: Floats, fake: Floats, family: NDArray[np.str_], pull: float = PULL) -> Floats:
    """Fit a logistic regression with non-negative weights, which are pulled towards equal ones.

    ``CE(Σ wᵢ zᵢ + b) + pull/2 Σ (wᵢ − 1/m)²`` is minimised over w ≥ 0 and b by projected gradient descent. The length
    of the steps is the inverse of the Lipschitz constant of the gradient. The problem is convex, and strictly convex in
    w. Both classes have the same weight in the cross-entropy, and so have all families within a class.

    Args:
        logit: Calibrated logits of the members, float64 ``[N, m]``.
        fake: Labels float64 ``[N]`` in {0, 1}.
        family: Source of each sample, ``[N]``.
        pull: Strength of the penalty.

    Returns:
        Weights ``float64 [m]``, not normalised to a sum of 1; all are 0 if no member is better than chance.
    """
    count, members = logit.shape
    share = balanced_weights(fake, family)
    table = np.column_stack([logit, np.ones(count)])
    equal = np.append(np.full(members, 1.0 / members), 0.0)
    penalty = np.append(np.full(members, pull), 0.0)
    curvature = 0.25 * np.linalg.eigvalsh((table * share[:, None]).T @ table)[-1] + pull
    solution = equal.copy()
    for _ in range(_STEPS):
        p_fake = sigmoid(table @ solution)
        gradient = table.T @ (share * (p_fake - fake)) + penalty * (solution - equal)
        moved = solution - gradient / curvature
        moved[:-1] = np.maximum(moved[:-1], 0.0)
        if np.abs(moved - solution).max() < _TOLERANCE:
            break
        solution = moved
    weights: Floats = solution[:-1]
    return weights


def _rows(ensemble: Predictor, members: int, dataset: Dataset, frames: int) -> Rows:
    """Judge a dataset; return a row for the most prominent face of each picture and each judged moment of a video."""
    logit, fake, family, group = [], [], [], []
    for sample, result in evaluate(ensemble, dataset, evidence=True, frames=frames):
        moments = {face.time_s: face for face in sorted(result.faces, key=lambda face: face.confidence)}
        for face in moments.values():
            logit.append(face.extra[MEMBERS])
            fake.append(sample.is_fake)
            family.append(sample.source)
            group.append(sample.group)
    table = np.asarray(logit, np.float64).reshape(len(logit), members)
    return Rows(table, np.asarray(fake, np.float64), np.asarray(family, str), np.asarray(group, str))


def _check(rows: Rows, members: Sequence[Predictor], dataset: Dataset) -> list[str]:
    """Refuse data on which nothing can be fitted, and return a sentence about each member that is at chance."""
    classes = np.unique(rows.fake)
    if len(classes) < 2:
        found = "no face was found" if not len(classes) else f"has {'fakes' if classes[0] else 'real faces'} only"
        raise TrainingDataError(f"{dataset.root}: {found}; an ensemble is fitted on faces of both classes")
    said = []
    for member, logit in zip(members, rows.logit.T, strict=True):
        name = f"{member.manifest.name} {member.manifest.version}"
        low, high = metrics.grouped_bootstrap(rows.fake, logit, rows.group, metrics.roc_auc)
        if high < 0.5:
            raise TrainingDataError(
                f"{name} ranks the real faces of {dataset.root} above its "
                f"fakes (AUC {metrics.roc_auc(rows.fake, logit):.2f}): its labels or the data's are swapped, or it "
                "is no detector of these fakes; give the data's labels, or leave the member out"
            )
        if low <= 0.5:
            said.append(
                f"{name} is at chance on {dataset.root} (AUC {metrics.roc_auc(rows.fake, logit):.2f} "
                f"[{low:.2f}, {high:.2f}]), so that its weight means little; leave it out, or fit on more pictures"
            )
    return said


def _seen_before(members: Sequence[Predictor], dataset: Dataset, *, allow_seen: bool) -> list[str]:
    """Refuse data on which a member was trained; return a sentence for each member, empty where it has seen nothing."""
    sentences = []
    for member, seen in zip(members, seen_by(members, dataset), strict=True):
        name, remedy = f"{member.manifest.name} {member.manifest.version}", "fit on pictures that no member has seen"
        said = refuse_seen(name, seen, str(dataset.root), "fitting an ensemble", remedy, allow_seen=allow_seen)
        if not seen.known:
            log.warning("%s", said)
        sentences.append(said if seen.known else "")
    return sentences


def _fitted_on_before(members: Sequence[Predictor], seen: list[str], data_sha256: str, dataset: Dataset) -> list[str]:
    """Return a sentence about each member that was trained or calibrated on the dataset."""
    said = [
        f"{member.manifest.name} {member.manifest.version} was trained or calibrated on {dataset.root}, so that it "
        "looks too good there and weighs too much; fit on pictures that no member has seen"
        if data_sha256 in member.manifest.calibration.fitted_on_sha256
        else sentence
        for member, sentence in zip(members, seen, strict=True)
    ]
    return [sentence for sentence in said if sentence]


def _aucs(rows: Rows, weights: Floats, members: Sequence[Predictor]) -> dict[str, Any]:
    """Compute the AUC of each member, of equal weights, of the fitted weights, and of weights fitted on other folds."""
    alone = [
        {"name": member.manifest.name, "version": member.manifest.version, "auc": metrics.roc_auc(rows.fake, logit)}
        for member, logit in zip(members, rows.logit.T, strict=True)
    ]
    return {
        "members": alone,
        "auc_equal": metrics.roc_auc(rows.fake, rows.logit.mean(axis=1)),
        "auc": metrics.roc_auc(rows.fake, rows.logit @ weights),
        "auc_cross_validated": _cross_validated(rows),
    }


def _cross_validated(rows: Rows) -> float | None:
    """Compute the AUC of scores whose weights were fitted without the group of the sample.

    It is ``None`` with too few groups, or if the samples outside of a fold are of one class.
    """
    names, group = np.unique(rows.group, return_inverse=True)
    if len(names) < 2 * FOLDS:
        return None
    fold = np.random.default_rng(SEED).permutation(len(names))[group] % FOLDS
    scores = np.zeros(len(rows.fake))
    for number in range(FOLDS):
        rest = fold != number
        if len(np.unique(rows.fake[rest])) < 2:
            return None
        weights = fit_weights(rows.logit[rest], rows.fake[rest], rows.family[rest])
        scores[~rest] = rows.logit[~rest] @ (weights / max(weights.sum(), np.finfo(float).tiny))
    return metrics.roc_auc(rows.fake, scores)


def _of(dataset: Dataset, rows: Rows) -> dict[str, Any]:
    return {
        "faces": len(rows.fake),
        "groups": len(np.unique(rows.group)),
        "data_sha256": manifest_hash(dataset),
        "labels": labels_read(counted(dataset)),
    }

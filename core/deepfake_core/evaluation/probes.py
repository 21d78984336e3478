"""Scores from a model that is fitted on the other folds, for baselines that a detector's accuracy is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import MissingExtra

FOLDS = 5
"""Number of folds of the cross-validation."""


def out_of_fold(
    model: Any, features: NDArray[Any], fake: NDArray[Any], groups: NDArray[Any], *, method: str, seed: int = 0
) -> NDArray[np.float64]:
    """Return scores ``float64 [N]``, each from a copy of a model that was not fitted on the sample's group.

    Args:
        model: Classifier of scikit-learn.
        features: ``float32 [N, D]``.
        fake: Labels ``[N]`` in {0, 1}; each class must occur in as many groups as there are folds.
        groups: Group of each sample ``[N]``.
        method: Method of the model that gives the scores: ``"predict_proba"`` or ``"decision_function"``.
        seed: Seed of the division into folds.

    Raises:
        MissingExtra: scikit-learn is absent.
    """
    try:
        from sklearn.model_selection import PredefinedSplit, cross_val_predict
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError as error:
        raise MissingExtra("a cross-validated probe", "deepfake-core[data]") from error
    folds = PredefinedSplit(folds_of(fake, groups, seed))
    with threadpool_limits(1):  # small fits wait for each other's threads longer than they compute
        scores = cross_val_predict(model, features, fake, cv=folds, method=method)
    return np.asarray(scores[:, 1] if scores.ndim > 1 else scores, np.float64)


def folds_of(fake: NDArray[Any], groups: NDArray[Any], seed: int = 0) -> NDArray[np.intp]:
    """Return the fold of each sample, ``intp [N]`` in [0, :data:`FOLDS`): groups are dealt out and never divided.

    Groups of real samples, of both and of fakes are dealt out one kind after the other, the largest groups first, so
    that all folds have about as many samples of each class. It takes milliseconds, where scikit-learn's division by
    groups takes a second for each thousand groups.

    Args:
        fake: Labels ``[N]`` in {0, 1}.
        groups: Group of each sample ``[N]``.
        seed: Seed of the order of groups of the same size.
    """
    _, group = np.unique(groups, return_inverse=True)
    fakes = np.bincount(group, np.asarray(fake) > 0.5)
    sizes = np.bincount(group)
    kind = np.where(fakes == 0, 0, np.where(fakes == sizes, 2, 1))  # a class is dealt out without a gap
    order = np.lexsort((np.random.default_rng(seed).random(len(sizes)), -sizes, kind))
    fold = np.empty(len(sizes), np.intp)
    fold[order] = np.arange(len(sizes)) % FOLDS
    return fold[group]

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
        from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    except ModuleNotFoundError as error:
        raise MissingExtra("a cross-validated probe", "deepfake-core[data]") from error
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, features, fake, groups=groups, cv=folds, method=method)
    return np.asarray(scores[:, 1] if scores.ndim > 1 else scores, np.float64)

"""ROC AUC with an interval for samples that come in groups, without drawing samples anew."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake_core.evaluation.metrics import independent, interval, roc_auc


@dataclass(frozen=True, slots=True)
class ClusteredAuc:
    """ROC AUC of scores, and how far it may be off.

    Attributes:
        value: Area under the ROC curve, in [0, 1].
        error: Standard error of ``value``; ``nan`` with fewer than two groups in a class.
        groups: Number of groups of each class.
    """

    value: float
    error: float
    groups: tuple[int, ...]

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return a confidence interval, as :func:`~deepfake_core.evaluation.metrics.interval` computes it.

        Args:
            level: Coverage of the interval, in (0, 1).
        """
        spread = np.array([self.value - self.error, self.value + self.error])
        return interval(self.value, spread, self.groups, level, rate=True)


def clustered_auc(fake: ArrayLike, score: ArrayLike, groups: ArrayLike) -> ClusteredAuc:
    """Compute the ROC AUC of scores ``[N]`` for labels ``[N]``, and its standard error over whole groups.

    The error is that of Obuchowski (1997), whose groups may hold samples of both classes. It takes milliseconds, where
    a bootstrap takes seconds, so that many scores can be compared.

    Args:
        fake: Labels ``[N]`` in {0, 1}; both must occur.
        score: Scores float ``[N]``.
        groups: Group of each sample ``[N]``, of any type that can be sorted.

    Raises:
        ValueError: The arrays are not one-dimensional and equally long, or a score is not finite.
    """
    value = roc_auc(fake, score)
    target, values = np.asarray(fake) > 0.5, np.asarray(score, np.float64)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    count = int(group.max(initial=-1)) + 1
    real, shown = np.sort(values[~target]), np.sort(values[target])
    # For each fake the share of reals below it, and for each real the share of fakes above it; ties count half.
    placed = np.where(target, _below(real, values), 1 - _below(shown, values))
    held = independent(target, groups)
    if min(held, default=0) < 2 or len(held) < 2:
        return ClusteredAuc(value, float("nan"), tuple(held))
    sums = [np.bincount(group[here], placed[here] - value, minlength=count) for here in (~target, target)]
    sizes = [len(real), len(shown)]
    both = count / (count - 1) * float(sums[0] @ sums[1]) / (sizes[0] * sizes[1])
    alone = sum(n / (n - 1) * float(part @ part) / size**2 for n, part, size in zip(held, sums, sizes, strict=True))
    return ClusteredAuc(value, math.sqrt(max(0.0, alone + 2 * both)), tuple(held))


def _below(ordered: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return places / (2 * max(1, len(ordered)))

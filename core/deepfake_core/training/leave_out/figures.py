"""Figures of a source that was left out, from the scores of its faces; NumPy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import DeepfakeError
from deepfake_core.evaluation.grouping import codes, places
from deepfake_core.evaluation.metrics import Floats, Metric, grouped_bootstrap, roc_auc
from deepfake_core.training.leave_out.results import SCORES, Measured
from deepfake_core.training.runs.files import first_line
from deepfake_registry.files import atomic_path

DRAWS = 1000
"""Bootstrap draws of each interval."""


@dataclass(frozen=True)
class Scores:
    """Scores of the faces of a source that was left out, and of the real faces that its fakes are compared with.

    Attributes:
        name: File that each face is from, ``str [N]``; each occurs once.
        source: Source of each face, ``str [N]``.
        group: Group of each face, ``str [N]``.
        fake: Labels ``int8 [N]``; 1 is fake.
        left_out: Whether a face is of the source that was left out, ``bool [N]``.
        p_fake: Calibrated probability, float64 ``[N]`` in [0, 1].
        found: Whether ``p_fake`` reaches the threshold, ``bool [N]``.
        called_fake: Whether the verdict is ``fake``, ``bool [N]``.
    """

    name: NDArray[np.str_]
    source: NDArray[np.str_]
    group: NDArray[np.str_]
    fake: NDArray[np.int8]
    left_out: NDArray[np.bool_]
    p_fake: Floats
    found: NDArray[np.bool_]
    called_fake: NDArray[np.bool_]

    def __getitem__(self, which: Any) -> Scores:
        """Return some of the faces."""
        return Scores(*(getattr(self, one.name)[which] for one in fields(self)))

    def __len__(self) -> int:
        return len(self.fake)

    def write(self, folder: Path) -> None:
        """Write the scores to the folder of a run."""
        with atomic_path(folder / SCORES) as path, path.open("wb") as stream:
            np.savez_compressed(stream, **{one.name: getattr(self, one.name) for one in fields(self)})

    @classmethod
    def read(cls, folder: Path) -> Scores:
        """Read the scores in the folder of a run.

        Raises:
            DeepfakeError: The file is absent or damaged.
        """
        file = folder / SCORES
        try:
            with np.load(file, allow_pickle=False) as content:
                return cls(**{one.name: content[one.name] for one in fields(cls)})
        except (OSError, ValueError, KeyError) as error:
            raise DeepfakeError(
                f"{file}: cannot be read ({first_line(error)}); give the command that made it again, without this file"
            ) from error


def mean_auc(score: Floats, source: NDArray[np.str_], run: NDArray[np.intp]) -> Metric:
    """Return a metric: the mean over runs of each run's AUC. It takes labels and, in place of scores, places of faces.

    The AUC of a run is the mean of those of its fakes against the real faces of each source, so that all sources of
    real faces have the same weight.

    Args:
        score: Scores of all faces, float64 ``[N]``.
        source: Source of each face, ``str [N]``.
        run: Number of the run that each face belongs to, ``intp [N]``.
    """
    pool = codes(source.tolist())

    def metric(target: Any, place: Any) -> float:
        index = np.asarray(place, dtype=np.intp)
        found = []
        for here in places(run[index]).values():
            label, scores, pools = target[here], score[index[here]], pool[index[here]]
            fakes, reals, of = scores[label == 1], scores[label == 0], pools[label == 0]
            if len(fakes) and len(reals):
                found.append(np.mean([_auc(fakes, reals[own]) for own in places(of).values()]))
        return float(np.mean(found)) if found else math.nan

    return metric


def mean_share(counts: NDArray[np.bool_], run: NDArray[np.intp]) -> Metric:
    """Return a metric: the mean over runs of the share of faces that count; its arguments are as in :func:`mean_auc`.

    Args:
        counts: Whether each face counts, ``bool [N]``.
        run: Number of the run that each face belongs to, ``intp [N]``.
    """

    def metric(_: Any, place: Any) -> float:
        index = np.asarray(place, dtype=np.intp)
        number = np.bincount(run[index])
        counted = np.bincount(run[index], weights=counts[index])
        return float(np.mean(counted[number > 0] / number[number > 0])) if len(index) else math.nan

    return metric


def _auc(fakes: Floats, reals: Floats) -> float:
    return roc_auc(np.repeat([1, 0], [len(fakes), len(reals)]), np.concatenate([fakes, reals]))


def auc(scores: Scores) -> Measured | None:
    """Return the AUC of the fakes against the real faces; ``None`` where a class is missing."""
    if len(np.unique(scores.fake)) < 2:
        return None
    run = np.zeros(len(scores), np.intp)
    return _measured(scores, mean_auc(scores.p_fake, scores.source, run))


def share(scores: Scores, counts: NDArray[np.bool_]) -> Measured | None:
    """Return the share of the faces that count, ``bool [N]``; ``None`` where there is no face."""
    return _measured(scores, mean_share(counts, np.zeros(len(scores), np.intp))) if len(scores) else None


def _measured(scores: Scores, metric: Metric) -> Measured:
    every = np.arange(len(scores), dtype=np.float64)
    ends = grouped_bootstrap(scores.fake, every, scores.group, metric, DRAWS)
    low, high = (None if math.isnan(end) else round(end, 6) for end in ends)
    return Measured(value=round(metric(scores.fake, every), 6), low=low, high=high)

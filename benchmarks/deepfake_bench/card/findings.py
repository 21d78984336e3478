"""What a model card is made from: a manifest, a report, validation scores, predictions and the sources' terms."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from deepfake_bench.records.report import Measurement, Report
from deepfake_core.errors import TrainingDataError
from deepfake_registry.manifest import Calibration, ModelManifest
from deepfake_registry.provenance import SourceTerms

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Labelled scores of pictures.

    Attributes:
        name: Of the dataset.
        logit: ``float64 [N]``.
        fake: ``float64 [N]`` in {0, 1}.
        family: ``[N]``: the source, or the kind of fake.
    """

    name: str
    logit: Floats
    fake: Floats
    family: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the numbers of a card come from."""

    manifest: ModelManifest
    report: Report
    validation: Scores
    evaluation: tuple[Scores, ...] = ()
    terms: tuple[SourceTerms, ...] = ()

    def measured(self, scenario: str, dataset: str | None = None) -> Iterator[Measurement]:
        """The measurements of one scenario that have numbers."""
        for row in self.report.measurements:
            fits = dataset is None or (row.dataset is not None and row.dataset.name == dataset)
            if row.scenario == scenario and row.status == "measured" and fits:
                yield row


def read_validation(run_dir: Path) -> Scores:
    """The scores that a training run was calibrated on.

    Raises:
        TrainingDataError: The folder is not that of a finished run.
    """
    file = run_dir / "validation_scores.npz"
    try:
        with np.load(file, allow_pickle=False) as saved:
            logit, fake, family = (saved[name] for name in ("logit", "fake", "family"))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise TrainingDataError(f"{file}: cannot be read ({error}); name the folder of a finished run") from error
    return Scores("validation", logit.astype(np.float64), fake.astype(np.float64), family)


def judge_validation(detector: str, data: str, cache_dir: Path, device: str = "cpu") -> Scores:
    """The same scores without the run: its validation split is made from the training data and judged again.

    What the shipped weights say is shown, at the precision in which they are shipped.

    Args:
        detector: A name or a packaged folder, with weights that torch can run.
        data: The training data, as :func:`~deepfake_core.datasets.opening.open_dataset` takes them.
        cache_dir: Where prepared faces are kept.
        device: Where the network runs.

    Raises:
        TrainingDataError: The data give other pictures than the model was trained on.
    """
    from deepfake_core.contract.detector import WithPreprocess
    from deepfake_core.loading.load import load
    from deepfake_core.training.data.validation import validation_logits
    from deepfake_core.training.held_out import training_data_of

    loaded = load(detector, backend="torch", device=device)
    where = next(loaded.network.parameters()).device
    held = training_data_of(loaded, data, cache_dir, where).validation
    logit = validation_logits(WithPreprocess(loaded.network, loaded.detector.preprocess).to(where), held.images)
    return Scores("validation", logit, held.fake.astype(np.float64), held.family)


def read_predictions(file: Path, name: str) -> Scores:
    """The pictures' scores in the CSV file of an accuracy measurement; videos have no single logit."""
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = [row for row in csv.DictReader(stream) if row["logit"]]
    return Scores(
        name,
        np.array([row["logit"] for row in rows], dtype=np.float64),
        np.array([row["fake"] for row in rows], dtype=np.float64),
        np.array([row["source"] for row in rows], dtype=str),
    )


def probability(fitted: Calibration, logit: Floats) -> Floats:
    """P(fake) ``float64 [N]`` of logits ``[N]``."""
    return np.array([fitted.p_fake(value) for value in logit.tolist()], dtype=np.float64)

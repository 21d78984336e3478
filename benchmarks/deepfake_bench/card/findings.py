"""The findings that a model card is made from: manifest, report, validation and evaluation logits, terms of sources."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from deepfake_bench.records.report import Measurement, Report
from deepfake_core.errors import TrainingDataError
from deepfake_registry.manifest import Calibration, ModelManifest
from deepfake_registry.provenance import SourceTerms

if TYPE_CHECKING:
    from deepfake_bench.card.evidence import Evidence

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledLogits:
    """Logits of images with their labels.

    Attributes:
        name: Name of the dataset.
        logit: Logits ``float64 [N]``.
        fake: Labels ``float64 [N]`` in {0, 1}.
        family: Source or kind of fake of each image, ``[N]``.
    """

    name: str
    logit: Floats
    fake: Floats
    family: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the numbers of a card come from.

    Attributes:
        manifest: Manifest of the model.
        report: Measurements of the model; ``None`` where only what its package keeps is known.
        validation: Logits on the validation split, which the model was calibrated on; ``None`` where they are not at
            hand.
        evaluation: Logits on evaluation sets.
        terms: Terms of use of the sources of the training data.
        advice: What the validations of the training run say about its recipe.
        evidence: Pictures that show where the model looked.
    """

    manifest: ModelManifest
    report: Report | None
    validation: LabelledLogits | None
    evaluation: tuple[LabelledLogits, ...] = ()
    terms: tuple[SourceTerms, ...] = ()
    advice: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    def measured(self, scenario: str, dataset: str | None = None) -> Iterator[Measurement]:
        """Yield the measurements of one scenario that have numbers, on any dataset or on one."""
        for row in self.report.measurements if self.report else ():
            fits = dataset is None or (row.dataset is not None and row.dataset.name == dataset)
            if row.scenario == scenario and row.status == "measured" and fits:
                yield row


def read_validation(run_dir: Path) -> LabelledLogits:
    """Read the logits that a training run was calibrated on.

    Raises:
        TrainingDataError: The folder is not that of a finished run.
    """
    file = run_dir / "validation_scores.npz"
    try:
        with np.load(file, allow_pickle=False) as saved:
            logit, fake, family = (saved[name] for name in ("logit", "fake", "family"))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise TrainingDataError(f"{file}: cannot be read ({error}); name the folder of a finished run") from error
    return LabelledLogits("validation", logit.astype(np.float64), fake.astype(np.float64), family)


def score_validation(detector: str, data: str, cache_dir: Path, device: str = "cpu") -> LabelledLogits:
    """Compute the same logits without the run: the validation split is made again from the training data, and scored.

    The logits are those of the shipped weights, at the precision in which they are shipped.

    Args:
        detector: Name or packaged folder of a detector with weights that torch can run.
        data: Training data, as :func:`~deepfake_core.datasets.opening.open_dataset` takes them.
        cache_dir: Folder that prepared faces are kept in.
        device: Device that the network runs on.

    Raises:
        TrainingDataError: The data give other images than the model was trained on.
    """
    from deepfake_core.contract.detector import WithPreprocess
    from deepfake_core.handle.loaded import single
    from deepfake_core.loading.load import load
    from deepfake_core.training.data.validation import validation_logits
    from deepfake_core.training.held_out import training_data_of

    loaded = single(load(detector, backend="torch", device=device))
    where = next(loaded.network.parameters()).device
    held = training_data_of(loaded, data, cache_dir, where).validation
    logit = validation_logits(WithPreprocess(loaded.network, loaded.detector.preprocess).to(where), held.images)
    return LabelledLogits("validation", logit, held.fake.astype(np.float64), held.family)


def read_logits(file: Path, name: str) -> LabelledLogits:
    """Read the logits of images from the CSV file of an accuracy measurement; videos have no single logit.

    Args:
        file: CSV file of predictions.
        name: Name of the dataset.
    """
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = [row for row in csv.DictReader(stream) if row["logit"]]
    return LabelledLogits(
        name,
        np.array([row["logit"] for row in rows], dtype=np.float64),
        np.array([row["fake"] for row in rows], dtype=np.float64),
        np.array([row["source"] for row in rows], dtype=str),
    )


def probability(fitted: Calibration, logit: Floats) -> Floats:
    """Return P(fake) ``float64 [N]`` of logits ``float64 [N]``."""
    return np.array([fitted.p_fake(value) for value in logit.tolist()], dtype=np.float64)

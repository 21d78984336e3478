"""Packaging of a trained network: its calibration, its manifest with the provenance of the data, and its weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.discovery.artifacts import write_package
from deepfake_core.evaluation.calibration import evidence_limit, fit_calibration
from deepfake_core.evaluation.validated import concerns, summary, validated
from deepfake_core.explainers.evidence import LIMIT
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.progress import stage
from deepfake_core.training.data.training_data import ROLES, TrainingData
from deepfake_core.training.data.validation import validation_outputs
from deepfake_core.training.runs.rundir import RunDir
from deepfake_core.training.shortcuts.drawn import shortcuts_of
from deepfake_registry.files import atomic_path, sha256_file
from deepfake_registry.manifest import MANIFEST_KEY, DataSource
from deepfake_registry.provenance import SourceTerms, find_terms

log = logging.getLogger("deepfake.training")


@stage("packaging")
def package_model(
    name: str,
    detector: Detector,
    network: nn.Module,
    training_data: TrainingData,
    best: Mapping[str, float],
    recipe: TrainRecipe,
    run: RunDir,
    *,
    data: str | None,
    held_out: tuple[str, ...],
    terms: Sequence[SourceTerms],
    start: LoadedDetector | None,
    teacher: DataSource | None = None,
    taken: Mapping[str, object],
) -> None:
    """Calibrate a trained network on the validation samples, and write it with its manifest to the run's ``model/``.

    The logits of the validation samples are written to ``validation_scores.npz``.

    Args:
        name: Name of the detector's plugin.
        detector: Detector that was trained.
        network: Network with the weights of the best validation; it is moved to the CPU.
        training_data: Training and validation samples of the run.
        best: Metrics of the best validation.
        recipe: Recipe of the run.
        run: Folder of the run.
        data: Training data as the user named them.
        held_out: Hashes of the images that were held out from training.
        terms: Licence terms of the sources.
        start: Model whose weights the run started from, if any.
        teacher: Model whose answers the network learnt from, if any.
        taken: What the run took: its steps and images, and whether it can be repeated bit by bit.
    """
    validation = training_data.validation
    model = WithPreprocess(network, detector.preprocess).to(next(network.parameters()).device)
    located = detector.evidence_size is not None
    logit, *strongest = validation_outputs(model, validation.images, evidence=located)
    fitted_on = f"validation split of {Path(data or '').name}: {len(logit)} samples"
    fake, family = validation.fake.astype(np.float64), validation.family
    calibration = fit_calibration(logit, fake, family, fitted_on, held_out, validation.groups)
    figures = validated(logit, fake, family, calibration, validation.groups)
    log.info("%s", summary(figures))
    for said in concerns(figures):
        log.warning("%s", said)
    measured = dict(best)
    if located:
        real = validation.fake < 0.5
        measured[LIMIT] = evidence_limit(strongest[0][real], validation.family[real])
    network.cpu()
    manifest = detector.manifest(
        name,
        "trained",
        version=sha256_file(run.best)[:8],
        calibration=calibration,
        provenance=(*_provenance(training_data, terms), *([teacher] if teacher else [])),
        training={
            **recipe.model_dump(mode="json"),
            "start": start.manifest.training if start else None,
            "taken": dict(taken),
        },
        metrics={"validation": measured, **figures, **shortcuts_of(run)},
    )
    weights = run.folder / f"{name}.safetensors"
    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()},
        weights,
        {MANIFEST_KEY: manifest.model_dump_json()},
    )
    with atomic_path(run.folder / "validation_scores.npz") as path, path.open("wb") as stream:
        np.savez_compressed(stream, logit=logit, fake=validation.fake, family=validation.family)
    groups = training_data.groups()
    known = run.folder / "groups.bin"
    (groups.after(start.training_groups) if start else groups).save(known)
    write_package(run.model, manifest, {"safetensors": weights}, known)
    for file in (weights, known):
        file.unlink()


def _provenance(training_data: TrainingData, terms: Sequence[SourceTerms]) -> tuple[DataSource, ...]:
    return tuple(
        DataSource(
            name=source,
            role=ROLES[fake],
            count=count,
            terms=known.terms if (known := find_terms(terms, source, ROLES[fake])) else "not stated",
        )
        for (source, fake), count in training_data.counts.items()
    )

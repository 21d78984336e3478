"""One training run, from a folder of labelled pictures to a packaged model: what ``dfbench train`` does."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import yaml
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from deepfake_core.artifacts import Package, write_package
from deepfake_core.datasets.image_folder import ImageFolder
from deepfake_core.detector import Detector, WithPreprocess
from deepfake_core.errors import TrainingDataError
from deepfake_core.metrics import roc_auc
from deepfake_core.training.calibrate import fit_calibration
from deepfake_core.training.faces import FaceTable, find_faces, load_crops, split_by_group
from deepfake_core.training.loop import fit
from deepfake_core.training.pairs import PairDataset, PairMaker, PairSource, training_decoders, validation_pairs
from deepfake_core.training.recipe import TrainRecipe
from deepfake_core.training.reconstruct import VALIDATION_DECODER, load_reconstructions
from deepfake_registry.files import sha256_file, write_atomic
from deepfake_registry.manifest import MANIFEST_KEY, DataSource, FaceCrop
from deepfake_registry.provenance import SourceTerms, find_terms

if TYPE_CHECKING:
    from deepfake_core.loaded import LoadedDetector

log = logging.getLogger("deepfake.training")

DATA_SEED = 42
"""Decides the autoencoders and the validation pairs, so that runs with different seeds can be compared."""


@dataclass(frozen=True)
class ValidationSet:
    """Pictures as the detector sees them, with their labels.

    Attributes:
        images: ``uint8 [N, H, W, 3]`` RGB.
        fake: ``float32 [N]`` in {0, 1}.
        family: ``[N]``: the kind of fake, or the source, that the sample stands for.
    """

    images: NDArray[np.uint8]
    fake: NDArray[np.float32]
    family: NDArray[np.str_]


def train(
    name: str,
    detector: Detector,
    data: Path,
    recipe: TrainRecipe,
    run_dir: Path,
    *,
    device: str = "auto",
    cache_dir: Path | None = None,
    terms: Sequence[SourceTerms] = (),
    start: LoadedDetector | None = None,
) -> Package:
    """Train a detector and package what came out of it.

    Args:
        name: Name of the detector's plugin.
        detector: What to train.
        data: ``<source>/{real,fake}/…`` folders.
        recipe: How to train.
        run_dir: Where everything is written; an interrupted run in it is continued.
        device: ``"auto"`` takes a GPU where there is one.
        cache_dir: Where crops and reconstructions are kept; by default inside ``run_dir``.
        terms: Licence terms of each source, for the model's provenance.
        start: A trained model of the same architecture to go on from; by default the recipe decides.

    Returns:
        The package in ``run_dir/model``.

    Raises:
        TrainingDataError: The data are unusable; the message says why.
    """
    margin = _margin(detector)
    run_dir.mkdir(parents=True, exist_ok=True)
    cache_dir = cache_dir or run_dir / "cache"
    write_atomic(run_dir / "config.yaml", yaml.safe_dump({"detector": name, **_plain(detector, recipe)}))
    torch.manual_seed(recipe.seed)
    cv2.setNumThreads(0)  # its thread pool does not survive the fork of a data-loading worker, which would hang
    accelerator = Accelerator(cpu=device == "cpu")

    table, source, validation = prepare(detector, data, recipe, cache_dir, accelerator.device)
    network = detector.build()
    if start is not None:
        network.load_state_dict(start.network.state_dict())
    elif recipe.pretrained:
        detector.init_pretrained(network)
    dataset = PairDataset(
        PairMaker(source),
        recipe,
        size=detector.preprocess.resize.height,
        margin=margin,
        cells=detector.evidence_size[0] if detector.evidence_size else 1,
    )
    metrics = fit(
        detector,
        network,
        dataset,
        lambda model: validation_metrics(scores(model, validation.images), validation),
        recipe,
        run_dir,
        accelerator,
    )
    network.load_state_dict(load_file(run_dir / "best.safetensors"))
    return package(name, detector, network, table, validation, metrics, recipe, run_dir, data, terms, start)


def prepare(
    detector: Detector, data: Path, recipe: TrainRecipe, cache_dir: Path, device: torch.device
) -> tuple[FaceTable, PairSource, ValidationSet]:
    """Find faces, cut them, split them by group, make reconstructions and the validation set."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    samples = list(ImageFolder(data))
    listed = "\n".join(f"{sample.fake} {sample.source} {sample.group} {sample.path}" for sample in samples)
    table_file = cache_dir / f"faces-{hashlib.sha256(os.fsencode(listed)).hexdigest()[:16]}.npz"
    if not table_file.exists():
        find_faces(samples, data).save(table_file)
    table = FaceTable.read(table_file)
    pixels = load_crops(table, data, cache_dir)
    rows, held_out = split_by_group(table, recipe.validation_share)
    reconstructed = np.empty(0, np.intp)
    reconstructions: list[NDArray[np.uint8]] = []
    if recipe.pseudo.reconstruct:
        real = np.flatnonzero(table.fake == 0)
        reconstructed = real[:: max(1, -(-len(real) // recipe.reconstructed))]
        reconstructions = load_reconstructions(
            pixels,
            reconstructed,
            np.intersect1d(real, rows),
            cache_dir,
            steps=recipe.autoencoder_steps,
            device=device,
            seed=DATA_SEED,
        )
    decoders = training_decoders(len(reconstructions))
    training = PairSource(table, pixels, rows, reconstructions, reconstructed, decoders)
    kept = (VALIDATION_DECODER,) if reconstructions else ()
    validating = PairSource(table, pixels, held_out, reconstructions, reconstructed, kept)
    return table, training, _validation_set(detector, validating, data, recipe, cache_dir)


def _validation_set(
    detector: Detector, source: PairSource, data: Path, recipe: TrainRecipe, cache_dir: Path
) -> ValidationSet:
    """Held-out faces: made fakes of every family, and the labelled ones through the inference preprocessing."""
    maker = PairMaker(source)
    spec = detector.preprocess
    images, fake, family = [], [], []
    for number, kind in enumerate(kind for kind in maker.families() if kind != "labelled"):
        made, target = validation_pairs(
            maker,
            kind,
            count=recipe.validation_pairs,
            size=spec.resize.height,
            margin=_margin(detector),
            seed=DATA_SEED + 1000 + number,
        )
        images.append(made)
        fake.append(target)
        family += [kind] * len(target)
    rows = _spread(source.table, source.rows, recipe.validation_pairs)
    images.append(load_crops(source.table, data, cache_dir, spec)[rows])
    fake.append(source.table.fake[rows].astype(np.float32))
    family += source.table.sources[rows].tolist()
    return ValidationSet(np.concatenate(images), np.concatenate(fake), np.array(family))


def _margin(detector: Detector) -> float:
    """Side of the detector's crop over the longer side of the face box.

    Raises:
        TrainingDataError: The detector takes whole pictures, of which no pairs can be made.
    """
    crop = detector.preprocess.crop
    if not isinstance(crop, FaceCrop):
        raise TrainingDataError(
            f"{type(detector).__name__} takes whole pictures, but training makes pairs of faces: let it crop them"
        )
    return crop.margin


def _spread(table: FaceTable, rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most ``most`` rows of every source and class, evenly spread."""
    kept = []
    for source in np.unique(table.sources[rows]):
        for fake in (0, 1):
            here = rows[(table.sources[rows] == source) & (table.fake[rows] == fake)]
            kept.append(here[:: max(1, -(-len(here) // most))])
    return np.sort(np.concatenate(kept))


@torch.inference_mode()
def scores(model: nn.Module, images: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float64]:
    """Logits ``[N]`` of a :class:`~deepfake_core.detector.WithPreprocess` for ``uint8 [N, H, W, 3]``."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    logits = []
    for start in range(0, len(images), batch_size):
        output = model(torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size])).to(device))
        logits.append((output[0] if isinstance(output, tuple) else output).float().cpu().numpy())
    model.train(training)
    return np.concatenate(logits).astype(np.float64)


def validation_metrics(logit: NDArray[np.float64], validation: ValidationSet) -> dict[str, float]:
    """AUC of every family that has both classes, and their mean under ``auc``."""
    by_family = {}
    for name in np.unique(validation.family).tolist():
        here = validation.family == name
        if len(np.unique(validation.fake[here])) == 2:
            by_family[f"auc_{name}"] = roc_auc(validation.fake[here], logit[here])
    return {"auc": float(np.mean(list(by_family.values()))), **by_family}


def package(
    name: str,
    detector: Detector,
    network: nn.Module,
    table: FaceTable,
    validation: ValidationSet,
    metrics: dict[str, float],
    recipe: TrainRecipe,
    run_dir: Path,
    data: Path,
    terms: Sequence[SourceTerms],
    start: LoadedDetector | None,
) -> Package:
    """Calibrate the trained network on validation and write it, with its manifest, to ``run_dir/model``."""
    logit = scores(WithPreprocess(network.cpu(), detector.preprocess), validation.images)
    fitted_on = f"validation split of {data.name}: {len(logit)} faces"
    calibration = fit_calibration(logit, validation.fake.astype(np.float64), validation.family, fitted_on)
    manifest = detector.manifest(
        name,
        "trained",
        version=sha256_file(run_dir / "best.safetensors")[:8],
        calibration=calibration,
        provenance=_provenance(table, terms),
        training={**recipe.model_dump(mode="json"), "start": start.manifest.training if start else None},
        metrics={"validation": metrics},
    )
    weights = run_dir / f"{name}.safetensors"
    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()},
        weights,
        {MANIFEST_KEY: manifest.model_dump_json()},
    )
    np.savez_compressed(run_dir / "validation_scores.npz", logit=logit, fake=validation.fake, family=validation.family)
    write_atomic(run_dir / "metrics.json", json.dumps({"validation": metrics}, indent=2) + "\n")
    return write_package(run_dir / "model", manifest, {"safetensors": weights})


def _provenance(table: FaceTable, terms: Sequence[SourceTerms]) -> tuple[DataSource, ...]:
    return tuple(
        DataSource(
            name=source,
            role=role,
            count=int(((table.sources == source) & (table.fake == fake)).sum()),
            terms=known.terms if (known := find_terms(terms, source, role)) else "not stated",
        )
        for source in np.unique(table.sources).tolist()
        for fake, role in enumerate(("real", "fake"))
        if ((table.sources == source) & (table.fake == fake)).any()
    )


def _plain(detector: Detector, recipe: TrainRecipe) -> dict[str, Any]:
    return {"config": detector.config.model_dump(mode="json"), "recipe": recipe.model_dump(mode="json")}

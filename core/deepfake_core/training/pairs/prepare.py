"""Preparation of a run that trains on pairs: faces, their split, reconstructions and the validation set."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.data.crops.landmarks import find_landmarks
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.margin import check_margin
from deepfake_core.datasets.crop_store.store import REJECTED, CropStore
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.grouping import places
from deepfake_core.progress import stage
from deepfake_core.training.data.stores import (
    PICTURE_FRAMES,
    Rows,
    check_own_splits,
    check_sources,
    counts,
    damaged,
    divided,
    fingerprint,
    hashes_of,
    identity_of,
    prepared,
    rejected,
    share_of,
    spread,
)
from deepfake_core.training.data.training_data import NO_LANDMARKS, TrainingData
from deepfake_core.training.data.validation import ValidationSet
from deepfake_core.training.data.views import StoreCrops
from deepfake_core.training.pairs.agreement import Agreement, Measured
from deepfake_core.training.pairs.device.feed import DevicePairs
from deepfake_core.training.pairs.faces import MARGIN, SIDE, Faces
from deepfake_core.training.pairs.pairs import PairDataset, validation_pairs
from deepfake_core.training.pairs.planner import EQUAL, PairSource, Planner
from deepfake_core.training.pairs.reconstruct import Autoencoders, training_decoders, validation_decoders
from deepfake_core.training.recipes.stages import pairs_of_run
from deepfake_registry.manifest import FaceCrop

log = logging.getLogger("deepfake.training")

DATA_SEED = 42
"""Seed of the autoencoders and of the validation pairs: runs with different seeds of the recipe can be compared."""


def pairs_training_data(
    detector: Detector, dataset: Dataset, recipe: TrainRecipe, cache_dir: Path, device: torch.device
) -> TrainingData:
    """Prepare a store of faces with landmarks, split it, and make reconstructions and the validation set.

    A dataset that is a store already is used as it is.

    Args:
        detector: Detector to train, whose preprocessing decides the crops.
        dataset: Data to train on; its test split is left out.
        recipe: Recipe of the run.
        cache_dir: Folder in which stores, autoencoders and reconstructions are kept.
        device: Device on which the autoencoders are trained.

    Raises:
        TrainingDataError: The detector takes whole pictures, the store has no landmarks, or the data are unusable.
    """
    margin = face_margin(detector)
    if recipe.overfit:
        raise TrainingDataError("samples='pairs' draws every pair anew; overfit a few of samples='pictures' instead")
    if isinstance(dataset, StoredCrops):
        Faces(dataset.store)  # refuses what pairs cannot be made from, before anything is read
    check_sources(recipe, dataset)
    check_own_splits(dataset, recipe)
    store = store_of_pairs(dataset, recipe, cache_dir, margin)
    check_margin(store, detector.preprocess)
    faces = Faces(store)
    rows, held = divided(store, recipe)
    unusable = np.concatenate([rows[~faces.usable[rows]], held[~faces.usable[held]]])
    rows, held = rows[faces.usable[rows]], held[faces.usable[held]]
    bad = damaged(store, held)
    held = held[~np.isin(held, list(bad))]
    if not (faces.fake[rows] == 0).any():
        raise TrainingDataError(
            f"{dataset.root}: holds no real face with landmarks to train on, from which pairs are made; "
            f"{store.folder / REJECTED} says what was left out, or add real pictures"
        )
    rows = share_of(store, rows, recipe)
    identity, held_identity = identity_of(store, rows), identity_of(store, held)
    held_identity.check_disjoint(identity, "training and validation", recipe)
    training, validation, autoencoders = _sources(faces, rows, held, recipe, cache_dir, device)
    how: dict[str, Any] = {
        "size": detector.preprocess.resize.height,
        "margin": margin,
        "cells": detector.evidence_size[0] if detector.evidence_size else 1,
    }
    if recipe.pairs.match != "none":
        numbers = Measured(faces, how["size"], margin, cache_dir)
        training = replace(training, agreement=Agreement(recipe.pairs.match, faces.families, numbers))
    drawn = pairs_of_run(recipe, int((faces.fake[rows] == 0).sum()))
    planner = Planner(training, recipe.pairs, **how, drawn=drawn)
    for line in planner.labelled.described(planner.shares.get("labelled", 0.0), drawn):
        log.info("%s", line)
    models = autoencoders.models if autoencoders is not None else []
    return TrainingData(
        PairDataset(planner, recipe),
        _validation(detector, validation, recipe, how),
        counts(store, np.union1d(rows, held)),
        fingerprint(store.fingerprint, str(store.landmarks_record())),
        store.samples,
        identity,
        held_identity,
        [store.origin(int(row)) for row in rows[:10]],
        rejected(store)
        | {store.origin(int(row)): NO_LANDMARKS for row in unusable}
        | {store.origin(row): reason for row, reason in bad.items()},
        hashes=hashes_of(dataset, store, cache_dir),
        make_feed=(lambda recipe, accelerator: DevicePairs(planner, models, recipe, accelerator))
        if recipe.augment_on == "device"
        else None,
    )


def face_margin(detector: Detector) -> float:
    """Return the crop margin of a detector: the side of its crop over the longer side of the face box.

    Raises:
        TrainingDataError: The detector takes whole pictures, of which no pairs can be made.
    """
    crop = detector.preprocess.crop
    if not isinstance(crop, FaceCrop):
        raise TrainingDataError(
            f"{type(detector).__name__} takes whole pictures, but samples='pairs' makes pairs of faces: let it crop "
            "them, or train it on samples='pictures'"
        )
    return crop.margin


def store_of_pairs(dataset: Dataset, recipe: TrainRecipe, cache_dir: Path, margin: float) -> CropStore:
    """Return the store of a dataset's faces, with landmarks unless the dataset is a store itself.

    Args:
        dataset: Dataset to prepare, unless it is prepared already.
        recipe: Recipe of the run.
        cache_dir: Folder in which stores are kept.
        margin: Crop margin of the detector.
    """
    settings = {"margin": max(MARGIN, margin), "side": SIDE, "frames": PICTURE_FRAMES, "max_images": recipe.max_images}
    store = prepared(dataset, cache_dir, "pairs", settings)
    log.info("%s: %s", store.dataset, store.labels or "labels: as the store has them")
    return store if isinstance(dataset, StoredCrops) else find_landmarks(store)


def _sources(
    faces: Faces, rows: Rows, held: Rows, recipe: TrainRecipe, cache_dir: Path, device: torch.device
) -> tuple[PairSource, PairSource, Autoencoders | None]:
    """Return the sources of training and of validation pairs, and the autoencoders of which they have reconstructions.

    The loading processes have reconstructions of some faces only, because they have no time to make them; a device
    makes those of all training faces anew.
    """
    pairs, real = recipe.pairs, rows[faces.fake[rows] == 0]
    if not pairs.pseudo.reconstruct or not len(real):
        return PairSource(faces, rows), PairSource(faces, held), None
    cache_dir.mkdir(parents=True, exist_ok=True)
    held_real = held[faces.fake[held] == 0]
    if recipe.leave_out:
        # Of all sources, whatever the run leaves out, so that runs share the autoencoders and what these have made. The
        # planner takes no face but those of its own rows.
        every, every_held = divided(faces.store, recipe.model_copy(update={"leave_out": ()}))
        every = share_of(faces.store, every[faces.usable[every]], recipe)
        real = every[faces.fake[every] == 0]
        held_real = every_held[faces.usable[every_held] & (faces.fake[every_held] == 0)]
        held_real = held_real[~np.isin(held_real, list(damaged(faces.store, held_real)))]
    autoencoders = Autoencoders.load(
        faces, real, cache_dir, count=pairs.autoencoders, steps=pairs.autoencoder_steps, device=device, seed=DATA_SEED
    )
    trained, kept = training_decoders(pairs.autoencoders), validation_decoders(pairs.autoencoders)
    checked = autoencoders.reconstructions(faces, held_real, kept, cache_dir, most=pairs.validation)
    validation = PairSource(faces, held, kept, checked.rows, checked)
    if recipe.augment_on == "device":
        return PairSource(faces, rows, trained), validation, autoencoders
    made = autoencoders.reconstructions(faces, real, trained, cache_dir, most=pairs.reconstructed)
    return PairSource(faces, rows, trained, made.rows, made), validation, autoencoders


@stage("making validation pictures")
def _validation(detector: Detector, source: PairSource, recipe: TrainRecipe, how: dict[str, Any]) -> ValidationSet:
    """Return pseudo-fakes of every family from held-out faces, and held-out labelled faces as at inference."""
    faces, most = source.faces, recipe.pairs.validation
    rows = _per_source(faces, source.rows, most)
    images, fake = [StoreCrops(faces.store, rows, detector.preprocess)[:]], [faces.fake[rows].astype(np.float32)]
    family = [faces.source_names[code] for code in faces.sources[rows].tolist()]
    names = [faces.store.origin(int(row)) for row in rows]
    groups = [faces.store.group_names[code] for code in faces.store.groups[rows].tolist()]
    if (faces.fake[source.rows] == 0).any():
        planner = Planner(source, EQUAL, **how)
        for number, kind in enumerate(kind for kind in planner.families() if kind != "labelled"):
            made, target = validation_pairs(planner, kind, count=most, seed=DATA_SEED + 1000 + number)
            images.append(made)
            fake.append(target)
            family += [kind] * len(target)
            names += [f"{kind} {index}" for index in range(len(target))]
            groups += [f"{kind} {index // 2}" for index in range(len(target))]
    return ValidationSet(
        np.concatenate(images),
        np.concatenate(fake),
        np.array(family),
        names,
        recipe.pairs.beside,
        groups=np.array(groups),
    )


def _per_source(faces: Faces, rows: Rows, most: int) -> Rows:
    """Return at most ``most`` rows of every source and class, evenly spread."""
    strata = faces.sources[rows].astype(np.int64) * 2 + faces.fake[rows]
    kept = [spread(rows[found], most) for found in places(strata).values()]
    return np.sort(np.concatenate([np.empty(0, np.intp), *kept]))

"""Training data of labelled pictures and clips: prepared once, split by family, read from a store of crops."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.training.data.augment import Augment, DeviceAugment
from deepfake_core.training.data.pictures import ClipSet, PictureSet
from deepfake_core.training.data.stores import (
    PICTURE_FRAMES,
    Rows,
    check_sources,
    counts,
    damaged,
    divided,
    fingerprint,
    hashes_of,
    identity_of,
    not_held_out,
    of_recipe,
    prepared,
    rejected,
    share_of,
)
from deepfake_core.training.data.training_data import TrainingData
from deepfake_core.training.data.validation import ValidationSet
from deepfake_core.training.data.videos import clip_of
from deepfake_core.training.data.views import StoreClips, StoreCrops
from deepfake_registry.manifest import FaceCrop, PreprocessSpec

ROOM = 1.3
"""Ratio of the stored crops to the detector's, in margin and in pixels, which leaves room for crop jitter."""

CLIP_FRAMES = 64
"""Frames that are stored of each video for clips."""

log = logging.getLogger("deepfake.training")


def labelled_training_data(
    detector: Detector, dataset: Dataset, valid: Dataset | None, recipe: TrainRecipe, cache_dir: Path
) -> TrainingData:
    """Prepare datasets, split them, and make training and validation samples of them.

    Args:
        detector: Detector to train, whose preprocessing decides the crops.
        dataset: Data to train on; a part of it is held out for validation where ``valid`` is ``None``.
        valid: Data to validate on.
        recipe: Recipe of the run.
        cache_dir: Folder in which the stores of crops are kept.

    Raises:
        TrainingDataError: The data are unusable, or the splits share a group or an identity.
    """
    spec = detector.preprocess
    check_sources(recipe, dataset, *([] if valid is None else [valid]))
    store = held_store = store_of_labelled(dataset, spec, recipe, cache_dir, "train")
    files, left_out = store.samples, rejected(store)
    if valid is None:
        rows, held = divided(store, recipe)
    else:
        held_store = store_of_labelled(valid, spec, recipe, cache_dir, "valid")
        files += held_store.samples
        left_out |= rejected(held_store)
        rows = of_recipe(store, not_held_out(store), recipe)
        held = of_recipe(held_store, _own_or_all(held_store), recipe)
    hashes = hashes_of(dataset if valid is None else valid, held_store, cache_dir)
    rows = share_of(store, rows, recipe)
    if recipe.overfit:
        rows = held = _few(store, rows, recipe)
        held_store = store
    bad = damaged(held_store, held)
    left_out |= {held_store.origin(row): reason for row, reason in bad.items()}
    # A clip needs every frame of its video.
    of = held_store.videos if recipe.samples == "clips" else np.arange(len(held_store))
    held = held[~np.isin(of[held], of[list(bad)])]
    identity, held_identity = identity_of(store, rows), identity_of(held_store, held)
    if not recipe.overfit:
        held_identity.check_disjoint(identity, "training and validation", recipe)
    used = np.union1d(rows, held) if held_store is store else rows
    return TrainingData(
        _training(store, rows, spec, recipe),
        _validation(held_store, held, spec, recipe),
        counts(store, used),
        fingerprint(store.fingerprint, held_store.fingerprint),
        files,
        identity,
        held_identity,
        [store.origin(int(row)) for row in rows[:10]],
        left_out,
        _device_augment(recipe) if recipe.augment_on == "device" and not recipe.overfit else None,
        hashes,
    )


def store_of_labelled(
    dataset: Dataset, spec: PreprocessSpec, recipe: TrainRecipe, cache_dir: Path, use: str
) -> CropStore:
    """Return the store of a dataset's pictures or clips.

    Args:
        dataset: Dataset to prepare, unless it is prepared already.
        spec: Preprocessing of the detector.
        recipe: Recipe of the run.
        cache_dir: Folder in which stores are kept.
        use: ``"train"`` or ``"valid"``, the beginning of the store's name.
    """
    settings: dict[str, Any] = {
        "crop": "face" if isinstance(spec.crop, FaceCrop) else "whole",
        "margin": ROOM * spec.crop.margin if isinstance(spec.crop, FaceCrop) else 1.7,
        "side": round(ROOM * max(spec.size)),
        "frames": CLIP_FRAMES if recipe.samples == "clips" else PICTURE_FRAMES,
        "max_images": recipe.max_images,
    }
    if recipe.samples == "clips":
        settings["clip"] = clip_of(spec)
    store = prepared(dataset, cache_dir, use, settings)
    log.info("%s: %s", store.dataset, store.labels or "labels: as the store has them")
    return store


def _own_or_all(store: CropStore) -> Rows:
    own = store.rows("valid")
    return own if len(own) else np.arange(len(store))


def _few(store: CropStore, rows: Rows, recipe: TrainRecipe) -> Rows:
    """Return the rows of the first ``overfit`` samples, half of them of either class."""
    count = recipe.overfit or 0
    samples = store.videos[rows] if recipe.samples == "clips" else rows
    real, fake = (np.unique(samples[store.fake[rows] == label]) for label in (0, 1))
    return rows[np.isin(samples, np.concatenate([real[: -(-count // 2)], fake[: count // 2]]))]


def _training(store: CropStore, rows: Rows, spec: PreprocessSpec, recipe: TrainRecipe) -> TrainingSet:
    kind = ClipSet if recipe.samples == "clips" else PictureSet
    return kind(store, rows, spec, recipe, overfit=recipe.overfit is not None)


def _validation(store: CropStore, held: Rows, spec: PreprocessSpec, recipe: TrainRecipe) -> ValidationSet:
    images = StoreClips(store, held, spec) if recipe.samples == "clips" else StoreCrops(store, held, spec)
    sources = np.array([store.source_names[int(code)] for code in store.sources[images.rows]])
    groups = np.array([store.group_names[int(code)] for code in store.groups[images.rows]])
    names = [store.origin(int(row)) for row in images.rows]
    return ValidationSet(images, images.fake, sources, names, groups=groups)


def _device_augment(recipe: TrainRecipe) -> Callable[[torch.device], Augment]:
    return lambda device: DeviceAugment(recipe.augment, recipe.seed).to(device)

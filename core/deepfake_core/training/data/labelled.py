"""Training data of labelled pictures and clips: prepared once, split by family, read from a store of crops."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.contract.training_set import TrainingSet
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.data.splits import held_out, subset_by_group
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.store import HASHES, REJECTED, CropStore
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.augment import Augment, DeviceAugment
from deepfake_core.training.data.pictures import ClipSet, PictureSet
from deepfake_core.training.data.split_identity import SplitIdentity
from deepfake_core.training.data.training_data import TrainingData, fingerprint
from deepfake_core.training.data.validation import ValidationSet
from deepfake_core.training.data.videos import clip_of
from deepfake_core.training.data.views import StoreClips, StoreCrops
from deepfake_registry.manifest import FaceCrop, PreprocessSpec

ROOM = 1.3
"""Ratio of the stored crops to the detector's, in margin and in pixels, which leaves room for crop jitter."""

CLIP_FRAMES = 64
"""Frames that are stored of each video for clips."""

PICTURE_FRAMES = 16
"""Frames that are stored of each video for pictures."""

log = logging.getLogger("deepfake.training")

Rows = NDArray[np.intp]


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
    store = held_store = _prepared(dataset, spec, recipe, cache_dir, "train")
    log.info("%s: %s", store.dataset, store.labels or "labels: as the store has them")
    files = store.samples
    if valid is None:
        rows, held = _split(store, recipe)
    else:
        held_store = _prepared(valid, spec, recipe, cache_dir, "valid")
        log.info("%s: %s", held_store.dataset, held_store.labels or "labels: as the store has them")
        files += held_store.samples
        rows = _at_most(store, _not_held_out(store), recipe)
        held = _at_most(held_store, _own_or_all(held_store), recipe)
    # The hashes of a store that the user made are kept here, because its folder may belong to somebody else.
    is_store = isinstance(dataset if valid is None else valid, StoredCrops)
    known = cache_dir / f"{held_store.fingerprint[:16]}-{HASHES}" if is_store else held_store.folder / HASHES
    rejected = _rejected(store) if valid is None else _rejected(store) | _rejected(held_store)
    rows = rows[subset_by_group(_families(store, rows, recipe), recipe.data_share, recipe.seed, _strata(store, rows))]
    if recipe.overfit:
        rows = held = _few(store, rows, recipe)
        held_store = store
    identity, held_identity = _identity(store, rows), _identity(held_store, held)
    if not recipe.overfit:
        identity.check_disjoint(held_identity, "training and validation", recipe)
    used = np.union1d(rows, held) if held_store is store else rows
    return TrainingData(
        _training(store, rows, spec, recipe),
        _validation(held_store, held, spec, recipe),
        dict(sorted(Counter(_strata(store, used)).items())),
        fingerprint(store.fingerprint, held_store.fingerprint),
        files,
        identity | held_identity,
        [store.origin(int(row)) for row in rows[:10]],
        rejected,
        _device_augment(recipe) if recipe.augment_on == "device" and not recipe.overfit else None,
        known,
    )


def _prepared(dataset: Dataset, spec: PreprocessSpec, recipe: TrainRecipe, cache_dir: Path, use: str) -> CropStore:
    """Return the store of a dataset's crops, in a folder of its own for each dataset and way to cut it.

    Several runs may therefore share ``cache_dir``.
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
    # The name of the folder says "skip" for the stride of clips, as it did before: stores that exist are found again.
    described = str(settings).replace("stride=", "skip=")
    key = fingerprint(f"{dataset.described()} {described}")
    return prepare(dataset, cache_dir / f"{use}-{key[:16]}", refresh=True, **settings)


def _split(store: CropStore, recipe: TrainRecipe) -> tuple[Rows, Rows]:
    """Return the rows to train on and to validate on.

    They are the dataset's own splits, or whole families are held out of each source.
    """
    rows = _at_most(store, _not_held_out(store), recipe)
    if len(own := store.rows("valid")):
        return rows, _at_most(store, own, recipe)
    sources = [source for source, _ in _strata(store, rows)]
    chosen = held_out(_families(store, rows, recipe), sources, recipe.validation_share)
    return rows[~chosen], rows[chosen]


def _not_held_out(store: CropStore) -> Rows:
    rows = np.sort(np.concatenate([store.rows(""), store.rows("train")]))
    if not len(rows):
        raise TrainingDataError(f"{store.dataset}: every sample is held out by the dataset's own splits")
    return rows


def _own_or_all(store: CropStore) -> Rows:
    own = store.rows("valid")
    return own if len(own) else np.arange(len(store))


def _at_most(store: CropStore, rows: Rows, recipe: TrainRecipe) -> Rows:
    """Return the rows of at most ``max_images`` files, evenly spread; a store that exists may hold more files."""
    if recipe.max_images is None:
        return rows
    files = np.unique(store.origins[rows])
    return rows[np.isin(store.origins[rows], files[:: -(-len(files) // recipe.max_images)])]


def _families(store: CropStore, rows: Rows, recipe: TrainRecipe) -> list[str]:
    """Return the family of each row: groups that share identities, or single groups where these may be shared."""
    names, codes = (
        (store.group_names, store.groups) if recipe.allow_shared_identities else (store.family_names, store.families)
    )
    texts = {code: names[code] for code in np.unique(codes[rows]).tolist()}
    return [texts[code] for code in codes[rows].tolist()]


def _strata(store: CropStore, rows: Rows) -> list[tuple[str, int]]:
    names = list(store.source_names)
    return [(names[source], fake) for source, fake in zip(store.sources[rows], store.fake[rows].tolist(), strict=True)]


def _few(store: CropStore, rows: Rows, recipe: TrainRecipe) -> Rows:
    """Return the rows of the first ``overfit`` samples, half of them of either class."""
    count = recipe.overfit or 0
    samples = store.videos[rows] if recipe.samples == "clips" else rows
    real, fake = (np.unique(samples[store.fake[rows] == label]) for label in (0, 1))
    return rows[np.isin(samples, np.concatenate([real[: -(-count // 2)], fake[: count // 2]]))]


def _identity(store: CropStore, rows: Rows) -> SplitIdentity:
    groups = (store.group_names[code] for code in np.unique(store.groups[rows]).tolist())
    return SplitIdentity(frozenset(groups), frozenset(store.persons(rows)))


def _training(store: CropStore, rows: Rows, spec: PreprocessSpec, recipe: TrainRecipe) -> TrainingSet:
    kind = ClipSet if recipe.samples == "clips" else PictureSet
    return kind(store, rows, spec, recipe, overfit=recipe.overfit is not None)


def _validation(store: CropStore, held: Rows, spec: PreprocessSpec, recipe: TrainRecipe) -> ValidationSet:
    images = StoreClips(store, held, spec) if recipe.samples == "clips" else StoreCrops(store, held, spec)
    sources = np.array([store.source_names[int(code)] for code in store.sources[images.rows]])
    return ValidationSet(images, images.fake, sources, [store.origin(int(row)) for row in images.rows])


def _rejected(store: CropStore) -> dict[str, str]:
    with (store.folder / REJECTED).open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return {row["path"]: row["reason"] for row in csv.DictReader(stream)}


def _device_augment(recipe: TrainRecipe) -> Callable[[torch.device], Augment]:
    return lambda device: DeviceAugment(recipe.augment, recipe.seed).to(device)

"""Training on labelled pictures and clips: prepared once, split by family, read from shards."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepfake_core.data.splits import held_out, subset_by_group
from deepfake_core.datasets import Dataset
from deepfake_core.detector import Detector
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.augment import DeviceAugment
from deepfake_core.training.items import TrainingSet
from deepfake_core.training.material import Material, fingerprint
from deepfake_core.training.pictures import ClipSet, PictureSet, StoreClips, StoreCrops
from deepfake_core.training.prepare import prepare
from deepfake_core.training.recipe import TrainRecipe
from deepfake_core.training.step import Augment
from deepfake_core.training.store import REJECTED, CropStore
from deepfake_core.training.validation import ValidationSet
from deepfake_registry.manifest import FaceCrop, PreprocessSpec

ROOM = 1.3
"""How far stored crops reach beyond the detector's, in margin and in pixels, so that training crops can vary."""

CLIP_FRAMES = 64
"""Frames stored of each video for clips, where pictures need fewer."""

Rows = NDArray[np.intp]


def labelled_material(
    detector: Detector, dataset: Dataset, valid: Dataset | None, recipe: TrainRecipe, cache_dir: Path
) -> Material:
    """Prepare the datasets, split them, and make samples of them.

    Raises:
        TrainingDataError: The data are unusable, or the splits share a group or a person.
    """
    spec = detector.preprocess
    store = _prepared(dataset, spec, recipe, cache_dir / "train")
    held_store = store if valid is None else _prepared(valid, spec, recipe, cache_dir / "valid")
    rows, held = (
        _split(store, recipe)
        if valid is None
        else (
            _at_most(_not_held_out(store), recipe.max_images),
            _at_most(_own_or_all(held_store), recipe.max_images),
        )
    )
    rows = rows[subset_by_group(_families(store, rows, recipe), recipe.data_share, recipe.seed, _strata(store, rows))]
    if recipe.overfit:
        held_store, rows = store, _few(store, rows, recipe.overfit)
        held = rows
    else:
        _check_leaks(store, rows, held_store, held, recipe)
    validation = _validation(held_store, held, spec, recipe)
    return Material(
        _training(store, rows, spec, recipe),
        validation,
        dict(sorted(Counter(_strata(store, np.concatenate([rows, held]) if valid is None else rows)).items())),
        fingerprint("\n".join(validation.names), validation.fake),
        [store.origin(int(row)) for row in rows[:10]],
        _rejected(store) | (_rejected(held_store) if valid is not None else {}),
        _device_augment(recipe) if recipe.augment_on == "device" and not recipe.overfit else None,
    )


def _prepared(dataset: Dataset, spec: PreprocessSpec, recipe: TrainRecipe, folder: Path) -> CropStore:
    crop = spec.crop
    return prepare(
        dataset,
        folder,
        crop="face" if isinstance(crop, FaceCrop) else "whole",
        margin=ROOM * crop.margin if isinstance(crop, FaceCrop) else 1.7,
        side=round(ROOM * max(spec.size)),
        frames=CLIP_FRAMES if recipe.samples == "clips" else 16,
        max_images=recipe.max_images,
    )


def _split(store: CropStore, recipe: TrainRecipe) -> tuple[Rows, Rows]:
    """Rows to train on and to validate on: the dataset's own splits, or whole families held out of each source."""
    rows = _at_most(_not_held_out(store), recipe.max_images)
    if len(own := store.rows("valid")):
        return rows, _at_most(own, recipe.max_images)
    sources = [store.source_names[int(code)] for code in store.sources[rows]]
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


def _at_most(rows: Rows, count: int | None) -> Rows:
    """Evenly spread rows; a store that was prepared before may hold more than the recipe wants."""
    return rows if count is None else rows[:: max(1, -(-len(rows) // count))]


def _families(store: CropStore, rows: Rows, recipe: TrainRecipe) -> list[str]:
    """What must not be divided: groups that share persons, or single groups where persons may be shared."""
    names, codes = (
        (store.group_names, store.groups) if recipe.allow_shared_identities else (store.family_names, store.families)
    )
    return [names[int(code)] for code in codes[rows]]


def _strata(store: CropStore, rows: Rows) -> list[tuple[str, int]]:
    names = list(store.source_names)
    return [(names[source], fake) for source, fake in zip(store.sources[rows], store.fake[rows].tolist(), strict=True)]


def _few(store: CropStore, rows: Rows, count: int) -> Rows:
    """The first rows of both classes, half of each."""
    real, fake = (rows[store.fake[rows] == label] for label in (0, 1))
    return np.sort(np.concatenate([real[: -(-count // 2)], fake[: count // 2]]))


def _check_leaks(store: CropStore, rows: Rows, held_store: CropStore, held: Rows, recipe: TrainRecipe) -> None:
    """Refuse splits that share a group or, unless the recipe allows it, a person (resolution 7)."""
    shared = {store.group_names[int(code)] for code in np.unique(store.groups[rows])} & {
        held_store.group_names[int(code)] for code in np.unique(held_store.groups[held])
    }
    kind = "groups"
    if not shared and not recipe.allow_shared_identities:
        kind = "persons"
        shared = _persons(store, rows) & _persons(held_store, held)
    if shared:
        named = ", ".join(sorted(shared)[:5]) + (", …" if len(shared) > 5 else "")
        allow = "" if kind == "groups" else ", or set allow_shared_identities=true where the protocol shares them"
        raise TrainingDataError(
            f"training and validation share {len(shared)} {kind}: {named}; split the data anew "
            f"(dfbench data split){allow}"
        )


def _persons(store: CropStore, rows: Rows) -> set[str]:
    """Everyone shown; one row of each group is asked, as its rows show the same."""
    _, first = np.unique(store.groups[rows], return_index=True)
    return {person for row in rows[first] for person in store.identities(int(row))}


def _training(store: CropStore, rows: Rows, spec: PreprocessSpec, recipe: TrainRecipe) -> TrainingSet:
    kind = ClipSet if recipe.samples == "clips" else PictureSet
    return kind(store, rows, spec, recipe, overfit=recipe.overfit is not None)


def _validation(store: CropStore, held: Rows, spec: PreprocessSpec, recipe: TrainRecipe) -> ValidationSet:
    images = StoreClips(store, held, spec, recipe.clip) if recipe.samples == "clips" else StoreCrops(store, held, spec)
    sources = np.array([store.source_names[int(code)] for code in store.sources[images.rows]])
    return ValidationSet(images, images.fake, sources, [store.origin(int(row)) for row in images.rows])


def _rejected(store: CropStore) -> dict[str, str]:
    with (store.folder / REJECTED).open(newline="", errors="surrogateescape") as stream:
        return {row["path"]: row["reason"] for row in csv.DictReader(stream)}


def _device_augment(recipe: TrainRecipe) -> Callable[[torch.device], Augment]:
    return lambda device: DeviceAugment(recipe.augment, recipe.seed).to(device)

"""The store of crops that training is timed on: of given faces, or of the sample faces with drawn landmarks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.crops.face_mesh import (
    LEFT_BROW,
    LEFT_EYE,
    LIPS,
    NOSE,
    OVAL,
    POINTS,
    RIGHT_BROW,
    RIGHT_EYE,
    places,
)
from deepfake_core.data.crops.landmarks import find_landmarks
from deepfake_core.data.crops.neighbours import write_neighbours
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.crop_store import store as layout
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.store import CropStore, read_record
from deepfake_core.datasets.layouts.sample import SampleFaces
from deepfake_core.datasets.opening import open_dataset
from deepfake_registry.files import atomic_path, write_atomic

_SPREAD = 0.01  # by which each point of a drawn shape is off, in sides of the face's box


def stored_crops(data: str, folder: Path) -> tuple[StoredCrops, str]:
    """Return the store that training reads, and a description of it.

    Args:
        data: Faces, ``[LAYOUT:]PATH``; a store is read as it is. Empty for the sample faces.
        folder: Folder in which a store is made, once.

    Raises:
        TrainingDataError: There is no such data, or it shows no face.
    """
    if data:
        given = open_dataset(data)
        made = given if isinstance(given, StoredCrops) else StoredCrops(prepare(given, folder / "faces").folder)
        return made, f"{len(made.store)} crops of the given data"
    store = add_mean_shape(prepare(SampleFaces(folder / "drawn"), folder / "sample"))
    return StoredCrops(store.folder), (
        f"{len(store)} crops of the sample faces, read from the disk cache; their landmarks are a mean shape in the "
        "box of the face, not found ones"
    )


def whole_pictures(data: str, folder: Path) -> tuple[Dataset, str]:
    """Return what a detector of whole pictures trains on, and a description of it; training makes a store of it.

    Args:
        data: Pictures, ``[LAYOUT:]PATH``; empty for the sample pictures.
        folder: Folder in which these are drawn, once.

    Raises:
        TrainingDataError: There is no such data.
    """
    if data:
        return open_dataset(data), "whole pictures of the given data"
    return SampleFaces(folder / "drawn"), "the 80 sample pictures, read from the disk cache"


def with_landmarks(crops: StoredCrops) -> StoredCrops:
    """Return a store with the landmarks of its faces, which are found where it has none.

    Raises:
        MissingExtra: The face mesh is not installed.
        TrainingDataError: The store cannot be written.
    """
    return crops if crops.store.points is not None else StoredCrops(find_landmarks(crops.store).folder)


def add_mean_shape(store: CropStore) -> CropStore:
    """Write a mean shape into each face's box as its landmarks, and return the store with them.

    That is good enough to time the making of pairs, and needs no face mesh; for training it is not.
    """
    if store.points is not None:
        return store
    off = np.random.default_rng(0).normal(0, _SPREAD, (len(store), len(POINTS), 2))
    boxes = np.asarray(store.boxes, np.float64)[:, None]
    places_in_image = (boxes[..., :2] + (mean_shape() + off) * boxes[..., 2:]) / store.sizes[:, None, ::-1]
    points, index = places_in_image.astype(np.float16), store.folder / layout.INDEX
    with atomic_path(index / f"{layout.POINTS}.npy") as path, path.open("wb") as stream:
        np.save(stream, points)
    with atomic_path(index / f"{layout.NEIGHBOURS}.npy") as path:
        write_neighbours(path, points, store.sizes, store.fake, store.groups)
    record = {**read_record(store.folder), "landmarks": store.landmarks_record()}
    write_atomic(store.folder / layout.RECORD, json.dumps(record, indent=1) + "\n")
    return CropStore(store.folder)


def mean_shape() -> NDArray[np.float64]:
    """Return a face of ellipses, ``float64 [P, 2]``: x and y in sides of the face's box, in the order of POINTS.

    The lists of the mesh's points go around a part of the face, along a brow's lower and upper edge, or down the nose.
    """
    shape = np.full((len(POINTS), 2), np.nan)
    rings: tuple[tuple[tuple[int, ...], tuple[float, float], tuple[float, float], int, int], ...] = (
        (OVAL, (0.5, 0.48), (0.46, 0.52), -90, 360),
        (RIGHT_EYE, (0.3, 0.38), (0.09, 0.035), 180, -360),
        (LEFT_EYE, (0.7, 0.38), (0.09, 0.035), 0, 360),
        (LIPS, (0.5, 0.77), (0.19, 0.08), 180, -360),
    )
    for part, centre, radii, start, turn in rings:
        angles = np.radians(start + np.arange(len(part)) * turn / len(part))
        shape[places(part)] = np.array(centre) + np.array(radii) * np.stack([np.cos(angles), np.sin(angles)], 1)
    for brow, outer, inner in ((RIGHT_BROW, 0.16, 0.42), (LEFT_BROW, 0.84, 0.58)):
        across = np.linspace(outer, inner, 5)
        shape[places(brow)] = [*((x, 0.29) for x in across), *((x, 0.24) for x in across)]
    ridge, wings = places(NOSE[:8]), places(NOSE[8:])
    shape[ridge] = np.stack([np.full(8, 0.5), np.linspace(0.37, 0.63, 8)], 1)
    shape[wings] = [[0.44, 0.64], [0.56, 0.64], [0.4, 0.61], [0.6, 0.61], [0.42, 0.57], [0.58, 0.57]]
    return shape

"""Stores of crops that tests make for themselves."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from deepfake_core.data.crops import landmarks
from deepfake_core.data.crops.face_mesh import POINTS
from deepfake_core.data.crops.neighbours import write_neighbours
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.crop_store.store import INDEX, RECORD, CropStore, read_record
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError
from deepfake_core.testing import draw_face
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize, WholeImage

NORMALIZE = Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
FACE = PreprocessSpec(crop=FaceCrop(margin=1.3), resize=Resize(height=64, width=64), normalize=NORMALIZE)
WHOLE = PreprocessSpec(crop=WholeImage(), resize=Resize(height=8, width=8), normalize=NORMALIZE)


class Listed(Dataset):
    """Samples as a test lists them, name and facts, each a flat picture whose level is its number."""

    def __init__(self, root, samples):
        super().__init__(root)
        self.samples = samples

    def __iter__(self):
        for number, (name, facts) in enumerate(self.samples):
            path = self.root / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(path)
            yield Sample(path, **{"is_fake": number % 2 == 1, "source": "a", "group": name, **facts})


def write_faces(folder, real=3, fake=3, side=200):
    """``real/N.png`` and ``fake/N.png`` with drawn faces."""
    for kind, count, first in (("real", real, 0), ("fake", fake, 100)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(draw_face(first + number, side)).save(folder / kind / f"{number}.png")
    return folder


def face_store(folder, real=3, fake=3, **options):
    """A store of drawn faces below ``folder``."""
    return prepare(ImageFolder(write_faces(folder / "data", real, fake)), folder / "store", **options)


def eyes_as_landmarks(monkeypatch):
    """The eyes of the face stand in for the face mesh, which is another package's; the list counts the faces."""
    found = []

    class Mesh:
        def find(self, pixels, face):
            found.append(face)
            return np.resize(np.array(face.landmarks[:2], np.float32), (len(POINTS), 2))

    monkeypatch.setattr(landmarks, "FaceMesh", Mesh)
    monkeypatch.setattr(landmarks, "model_file", lambda: None)
    return found


def draw_landmarks(store):
    """Give a store landmarks that are drawn within its faces, where no face mesh is to be had; return it anew."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, len(POINTS)), np.sqrt(rng.uniform(0, 1, len(POINTS)))
    shape = np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None] / 2 + 0.5  # within the box
    shapes = shape + rng.normal(0, 0.01, (len(store), 1, 2))
    points = (store.boxes[:, None, :2] + shapes * store.boxes[:, None, 2:]) / store.sizes[:, None, ::-1]
    np.save(store.folder / INDEX / "points.npy", points.astype(np.float16))
    write_neighbours(store.folder / INDEX / "neighbours.npy", points, store.sizes, store.fake, store.groups)
    record = {**read_record(store.folder), "landmarks": store.landmarks_record()}
    (store.folder / RECORD).write_text(json.dumps(record))
    return CropStore(store.folder)


def damage(store, row):
    """Fill the stored image of a row with zeros."""
    path, offset, length = store.place(row)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(length))


class Failing(ImageFolder):
    """A folder of images on a disk that is unplugged after 50 of them."""

    def __iter__(self):
        for number, sample in enumerate(super().__iter__()):
            if number == 50:
                raise TrainingDataError("the disk was unplugged")
            yield sample


def write_tiny(folder, counts, side=8, seed=0):
    """Class folders (``real``, ``a/fake`` …) of tiny pictures without faces, for stores of whole pictures."""
    rng = np.random.default_rng(seed)
    for kind, count in counts.items():
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number:05d}.png")
    return folder

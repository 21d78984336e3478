"""What is kept for training on pairs is keyed by the content of the pictures, not by their names."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from deepfake_core.contract.recipe import Pairs, PseudoFakes, TrainRecipe
from deepfake_core.datasets.formats.csv_table import CsvTable
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.testing import draw_face
from deepfake_core.training.pairs import faces, prepare, reconstruct
from deepfake_core.training.pairs.face_table import STORE_SPEC, FaceTable

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def one_place(monkeypatch):
    """Every picture has its face in the same place."""

    class Tools:
        def find(self, pixels, face=None):
            found = Face(Box(60, 50, 130, 160), 1.0, tuple((80.0 + n, 90.0) for n in range(5)))
            return [found] if face is None else np.array(face.landmarks, np.float32)

    monkeypatch.setattr(faces, "_tools", lambda: (Tools(), Tools()))


def face(path, brighter=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_face(0).clip(20, 200) + np.uint8(brighter)).save(path)


def replaced(path, brighter):
    """The same picture a little brighter: the same face box, size in bytes and modification time."""
    before = path.stat()
    face(path, brighter)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def crops(dataset, tmp_path):
    pairs = Pairs(pseudo=PseudoFakes(reconstruct=0.0))
    recipe = TrainRecipe(samples="pairs", pairs=pairs, validation_share=0.5)
    samples = list(dataset)
    file = prepare._table_file(samples, tmp_path / "cache", dataset.state)
    table, training, _ = prepare._pair_sources(dataset, samples, file, recipe, torch.device("cpu"))
    return table, training.pixels


def test_a_replaced_picture_is_prepared_again(tmp_path):
    path = tmp_path / "data" / "real" / "0.bmp"
    face(path)
    face(tmp_path / "data" / "real" / "1.bmp", 30)
    data = ImageFolder(tmp_path / "data")
    table, before = crops(data, tmp_path)
    assert crops(data, tmp_path)[1].filename == before.filename, "nothing has changed"
    replaced(path, 9)
    again, after = crops(data, tmp_path)
    np.testing.assert_array_equal(table.boxes, again.boxes)
    np.testing.assert_array_equal(np.asarray(after[0], int) - np.asarray(before[0], int), 9)
    assert table.digests[0] != again.digests[0]
    with pytest.raises(TrainingDataError, match=r"real/0\.bmp: has changed since its face was found"):
        faces.load_crops(table, data, tmp_path / "other")


def test_a_picture_that_was_only_touched_gives_the_same_crops(tmp_path):
    path = tmp_path / "data" / "real" / "0.bmp"
    face(path)
    face(tmp_path / "data" / "real" / "1.bmp", 30)
    before = crops(ImageFolder(tmp_path / "data"), tmp_path)[1]
    path.touch()
    assert crops(ImageFolder(tmp_path / "data"), tmp_path)[1].filename == before.filename


@pytest.mark.parametrize("kind", ["folder", "dataset"])
def test_a_table_that_does_not_tell_the_content_is_not_trusted(tmp_path, kind):
    path = tmp_path / "data" / "real" / "0.bmp"
    face(path)
    data = ImageFolder(tmp_path / "data") if kind == "dataset" else tmp_path / "data"
    boxes = np.array([[60, 60, 100, 120]], np.float32)
    names = [np.array([name]) for name in ("real/0.bmp", "s", "g", "g")]
    table = FaceTable(names[0], np.zeros(1, np.int8), *names[1:], boxes, np.zeros((1, 5, 2), np.float32))
    before = faces.load_crops(table, data, tmp_path / "cache")
    replaced(path, 9)
    assert faces.load_crops(table, data, tmp_path / "cache").filename != before.filename


def test_other_boxes_and_another_preprocessing_make_other_crops(tmp_path):
    face(tmp_path / "data" / "real" / "0.bmp")
    data = ImageFolder(tmp_path / "data")
    table = faces.find_faces(data, data)
    moved = FaceTable(**{**vars(table), "boxes": table.boxes + 5})
    wider = STORE_SPEC.model_copy(update={"crop": STORE_SPEC.crop.model_copy(update={"margin": 1.3})})
    smaller = STORE_SPEC.model_copy(update={"resize": STORE_SPEC.resize.model_copy(update={"width": 64, "height": 64})})
    made = [
        faces.load_crops(table, data, tmp_path / "cache"),
        faces.load_crops(moved, data, tmp_path / "cache"),
        faces.load_crops(table, data, tmp_path / "cache", wider),
        faces.load_crops(table, data, tmp_path / "cache", smaller),
    ]
    assert len({crops.filename for crops in made}) == 4


def test_tables_in_one_folder_and_of_one_name_have_tables_of_their_own(tmp_path):
    files = {}
    for folder in ("a", "b"):
        for number in range(2):
            face(tmp_path / folder / f"{number}.bmp", number)
        for name, number in (("x.csv", 0), ("y.csv", 1)):
            (tmp_path / folder / name).write_text(f"path,label\n{number}.bmp,real\n")
            dataset = CsvTable(tmp_path / folder / name)
            files[folder, name] = prepare._table_file(list(dataset), tmp_path, dataset.state)
    assert len(set(files.values())) == 4


def test_reconstructions_are_of_the_crops_that_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruct, "train_autoencoder", lambda spec, pixels, **_: None)
    monkeypatch.setattr(reconstruct, "reconstruct", lambda model, images, device: images)

    def made(pixels):
        found = reconstruct.load_reconstructions(
            pixels, [0], np.arange(2), tmp_path / "cache", steps=1, device=torch.device("cpu")
        )
        return int(np.asarray(found[0]).max())

    (tmp_path / "cache").mkdir()
    assert [made(np.full((2, 32, 32, 3), level, np.uint8)) for level in (7, 9, 7)] == [7, 9, 7]
    for name, level in (("crops-a.npy", 1), ("crops-b.npy", 2)):
        np.save(tmp_path / name, np.full((2, 32, 32, 3), level, np.uint8))
        assert made(np.load(tmp_path / name, mmap_mode="r")) == level

"""Square crops of faces: read from a store, with the landmarks in their places."""

import pickle

import numpy as np
import pytest
from crop_stores import draw_landmarks
from PIL import Image

from deepfake_core.data.crops import cutter
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.datasets.crop_store.store import INDEX, CropStore
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.training.pairs.faces import SIDE, Faces

pytestmark = pytest.mark.torch

ENLARGED = Box(60, 50, 60, 80)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Makes a store of pictures whose red and green say where a pixel is, with a face in a given box."""

    def make(box=ENLARGED, side=200, count=1, **settings):
        class Finder:
            def find(self, pixels):
                return [Face(box, 1.0, ((1.0, 1.0),) * 6)]

        monkeypatch.setattr(cutter, "FaceFinder", Finder)
        folder = tmp_path / "data" / "real"
        folder.mkdir(parents=True)
        y, x = np.mgrid[:side, :side] * (255 / side)
        for number in range(count):
            pixels = np.stack([x, y, np.full_like(x, number)], 2)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        return prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", quality=None, **settings)

    return make


@pytest.mark.parametrize(
    ("box", "side", "whole"),
    [
        (ENLARGED, 200, True),
        (Box(300, 260, 300, 250), 900, True),  # reduced when it was stored
        (Box(10, 80, 70, 90), 200, False),  # reaches beyond the left edge
        (Box(120, 5, 78, 90), 200, False),  # and beyond two edges
        (Box(5, 5, 190, 190), 200, False),  # larger than the picture
    ],
)
def test_landmarks_are_at_the_same_place_of_the_face_in_the_crop(stored, box, side, whole):
    store = draw_landmarks(stored(box, side))
    faces = Faces(store)
    image, crop = store.read(0), faces.pixels(0)
    assert crop.shape == (SIDE, SIDE, 3)
    assert (faces.squares(slice(None))[0, :2].tolist() == [0, 0]) == whole
    at = [np.clip(points * size, 0, size - 1).astype(int).T
          for points, size in ((store.points[0], store.sizes[0, ::-1]), (faces.points[0], SIDE))]  # fmt: skip
    there, here = (picture[y, x, :2].astype(int) for picture, (x, y) in zip((image, crop), at, strict=True))
    assert np.abs(there - here).max() <= 4


def test_another_margin_of_the_store_gives_the_same_crop(stored, tmp_path):
    crop = Faces(draw_landmarks(stored())).pixels(0)
    data = ImageFolder(tmp_path / "data")
    wide = Faces(draw_landmarks(prepare(data, tmp_path / "wide", quality=None, margin=2.2)))
    assert np.abs(crop.astype(int) - wide.pixels(0)).max() <= 3
    assert np.abs(Faces(wide.store, 160).pixels(0).astype(int) - crop[::2, ::2]).max() <= 4


def test_faces_without_plausible_landmarks_are_not_usable(stored):
    store = draw_landmarks(stored(count=4))
    points = np.load(store.folder / INDEX / "points.npy")
    points[1, 5] = np.nan
    points[2, 7] = 3
    np.save(store.folder / INDEX / "points.npy", points)
    faces = Faces(CropStore(store.folder))
    assert faces.usable.tolist() == [True, False, False, True]
    rows = np.array([3, 0])
    np.testing.assert_array_equal(faces.points[rows], np.stack([faces.points[3], faces.points[0]]))
    assert faces.points[rows].dtype == np.float32
    again = pickle.loads(pickle.dumps(faces))
    np.testing.assert_array_equal(again.pixels(3), faces.pixels(3))


def test_a_store_of_no_use_for_pairs_is_refused_with_the_remedy(stored, tmp_path):
    store = stored()
    with pytest.raises(
        TrainingDataError, match=rf"no face landmarks.* dfbench data prepare crops:{store.folder} --lan"
    ):
        Faces(store)
    whole = prepare(ImageFolder(tmp_path / "data"), tmp_path / "whole", crop="whole")
    with pytest.raises(TrainingDataError, match=r"holds whole pictures.*--crop face"):
        Faces(whole)

"""Faces of a dataset: the same from a folder and from an archive."""

import tarfile

import cv2
import numpy as np
import pytest
from mini_sets import overwrite
from PIL import Image

from deepfake_core.data.fact_cache import locked_cache
from deepfake_core.data.manifest import held_out_hashes
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError
from deepfake_core.testing import draw_face
from deepfake_core.training.pairs import faces
from deepfake_core.training.pairs.face_table import FaceTable

pytestmark = pytest.mark.torch


class Tar(Dataset):
    """Pictures of an uncompressed archive, as a layout of shards has them."""

    def __iter__(self):
        with tarfile.open(self.root) as archive:
            for member in archive.getmembers():
                stem = member.name.removesuffix(".png")
                span = (member.offset_data, member.size)
                yield Sample(
                    self.root, int(stem) % 2 == 1, "s", f"s/{stem}", identities=("p",), span=span, member=member.name
                )


@pytest.fixture(autouse=True)
def landmarks(monkeypatch):
    """The five points of the face finder stand in for the face mesh, which is another package's."""

    class Mesh:
        def find(self, pixels, face):
            return np.array(face.landmarks, np.float32)

    monkeypatch.setattr(faces, "FaceMesh", Mesh)
    monkeypatch.setattr(faces, "_local", faces.threading.local())


def test_faces_are_read_through_the_dataset(tmp_path):
    for index in range(3):
        folder = tmp_path / "set" / "s" / ("real", "fake")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_face(index)).save(folder / f"{index}.png")
    (tmp_path / "set" / "s" / "real" / "9.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for path in sorted((tmp_path / "set").rglob("*.png")):
            archive.add(path, path.name)
    tables, crops = [], []
    for number, data in enumerate([tmp_path / "set", ImageFolder(tmp_path / "set"), Tar(tmp_path / "set.tar")]):
        samples = ImageFolder(data) if number == 0 else data
        table = faces.find_faces(samples, data)
        table.save(tmp_path / f"{number}.npz")
        tables.append(FaceTable.read(tmp_path / f"{number}.npz"))
        crops.append(faces.load_crops(tables[-1], data, tmp_path / f"cache{number}"))
    for table, cut in zip(tables[1:], crops[1:], strict=True):
        order = np.argsort(table.groups)
        np.testing.assert_array_equal(np.asarray(cut)[order], np.asarray(crops[0])[np.argsort(tables[0].groups)])
        assert len(table.rejected) == 1
    assert tables[0].paths.tolist() == tables[1].paths.tolist() == ["s/fake/1.png", "s/real/0.png", "s/real/2.png"]
    assert set(tables[2].paths.tolist()) == {"set.tar!0.png", "set.tar!1.png", "set.tar!2.png"}
    assert set(tables[2].families.tolist()) == {"s/2"}  # all show one person
    (tmp_path / "set" / "s" / "fake" / "1.png").unlink()
    (tmp_path / "set" / "s" / "fake" / "3.png").write_bytes(b"")
    with pytest.raises(TrainingDataError, match=r"s/fake/1\.png is gone"):
        faces.load_crops(tables[1], ImageFolder(tmp_path / "set"), tmp_path / "cache3")


def test_what_opencv_cannot_look_at_is_left_out(tmp_path, monkeypatch):  # 001-26
    class Finder:
        def find(self, pixels):
            raise cv2.error("too small")

    monkeypatch.setattr(faces, "_tools", lambda: (Finder(), None))
    (tmp_path / "real").mkdir()
    Image.fromarray(draw_face(0)).save(tmp_path / "real" / "0.png")
    (sample,) = ImageFolder(tmp_path)
    assert faces._find_one((sample, lambda: sample.path))[1] == "cannot be read: too small"


def test_hashes_are_found_with_the_faces(tmp_path):
    (tmp_path / "set" / "real").mkdir(parents=True)
    Image.fromarray(draw_face(0)).save(tmp_path / "set" / "real" / "0.png")
    (tmp_path / "set" / "real" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    data = ImageFolder(tmp_path / "set")
    expected = held_out_hashes(data)
    with locked_cache(tmp_path / "hashes") as hashes:
        assert len(faces.find_faces(data, data, hashes).rejected) == 1
    for path in (tmp_path / "set" / "real").iterdir():
        overwrite(path)
    assert held_out_hashes(data, tmp_path / "hashes") == expected

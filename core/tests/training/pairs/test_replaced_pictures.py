"""Pairs are made from the pictures as they are: what is kept is keyed by their content, not by their names."""

import os
import tarfile

import numpy as np
import pytest
import torch
from crop_stores import FACE
from PIL import Image

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import Pairs, PseudoFakes, TrainRecipe
from deepfake_core.datasets.formats.shards import Shards
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.testing import draw_face
from deepfake_core.training.gather import gather

pytestmark = pytest.mark.torch


class OfFaces(Detector):
    preprocess = FACE

    def build(self):
        raise AssertionError("nothing is built here")


def face(path, brighter=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_face(0, 96).clip(20, 200) + np.uint8(brighter)).save(path)


def faces_of(data, tmp_path):
    recipe = TrainRecipe(
        samples="pairs", pairs=Pairs(pseudo=PseudoFakes(reconstruct=0.0), validation=1), validation_share=0.3
    )
    training_data = gather(OfFaces(), data, None, recipe, tmp_path / "cache", torch.device("cpu"))
    return training_data.training.planner.source.faces


def folder_of(tmp_path):
    for kind in ("real", "fake"):
        for number in range(2):
            face(tmp_path / "data" / kind / f"{number}.bmp", number)
    return ImageFolder(tmp_path / "data")


def replaced(path, brighter):
    """The same picture a little brighter: the same face box, size in bytes and modification time."""
    before = path.stat()
    face(path, brighter)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def test_a_replaced_picture_is_prepared_again(tmp_path, same_face):
    data = folder_of(tmp_path)
    before = faces_of(data, tmp_path)
    pixels = before.pixels(2).astype(int)
    assert before.store.origin(2) == "real/0.bmp"
    faces_of(data, tmp_path)
    assert len(same_face) == 4, "nothing has changed"
    replaced(tmp_path / "data" / "real" / "0.bmp", 29)
    after = faces_of(data, tmp_path)
    assert np.abs(after.pixels(2) - pixels - 29).mean() < 2
    assert len(same_face) == 8, "landmarks are found in the pictures as they are"
    assert after.store.fingerprint != before.store.fingerprint


def test_pictures_that_were_only_touched_are_not_prepared_again(tmp_path, same_face):
    data = folder_of(tmp_path)
    before = faces_of(data, tmp_path)
    (tmp_path / "data" / "real" / "0.bmp").touch()
    assert faces_of(data, tmp_path).store.fingerprint == before.store.fingerprint
    assert len(same_face) == 4


def test_a_replaced_member_of_an_archive_is_prepared_again(tmp_path, same_face):
    def archived(brighter):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for number in range(8):
                path = tmp_path / "members" / f"{number}.bmp"
                face(path, brighter if number == 0 else number)
                path.with_suffix(".cls").write_text("fake" if number % 2 else "real")
                for file in (path, path.with_suffix(".cls")):
                    os.utime(file, (1, 1))
                    archive.add(file, file.name)
        os.utime(tmp_path / "a.tar", (1, 1))
        return Shards(tmp_path / "a.tar")

    before = faces_of(archived(0), tmp_path)
    pixels = before.pixels(0).astype(int)
    after = faces_of(archived(29), tmp_path)
    assert np.abs(after.pixels(0) - pixels - 29).mean() < 2

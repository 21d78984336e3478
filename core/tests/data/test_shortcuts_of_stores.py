"""Tests of the audit of a store: the stored faces, and the files behind them where they are still there."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from crop_stores import WHOLE, write_tiny
from PIL import Image

import deepfake_core as df
from deepfake_core.data.audit.files import CODING
from deepfake_core.data.crops.pack import pack
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError

COUNT = 21


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of drawn faces whose real files are JPEG, and whose fakes are PNG; and the folder of the files."""
    folder = tmp_path_factory.mktemp("stores")
    for label, suffix in (("real", "jpg"), ("fake", "png")):
        (folder / "data" / label).mkdir(parents=True)
        for number in range(COUNT):
            face = Image.fromarray(draw_face(2 * number + (label == "fake"), 96))
            face.save(folder / "data" / label / f"{number}{label[0]}.{suffix}", quality=90)
    return prepare(ImageFolder(folder / "data"), folder / "store")


def features(found):
    return {finding.feature for finding in found.sources[0].findings}


def test_the_files_behind_a_store_are_measured_while_they_are_there(made, tmp_path):
    found = df.data.shortcuts(f"crops:{made.folder}", side=64)
    assert "format_png" in {finding.feature for finding in found.exceeds()}
    assert found.left_out.keys() == {"face_share", "face_x", "face_y"}
    copy = tmp_path / "store"
    shutil.copytree(made.folder, copy)
    (copy / "hashes.sqlite").unlink()
    gone = df.data.shortcuts(f"crops:{copy}", side=64)
    assert set(CODING) < gone.left_out.keys()
    assert not features(gone) & set(CODING)
    assert features(gone) < features(found)
    named = df.data.shortcuts(f"crops:{copy}", side=64, files=made.folder.parent / "data")
    assert named.to_dict() == found.to_dict()
    with pytest.raises(TrainingDataError, match=r"holds none of the files of the store, such as fake/0f.png"):
        df.data.shortcuts(f"crops:{copy}", side=64, files=tmp_path)


def test_a_missing_file_is_one_number_less_and_no_error(made, tmp_path):
    shutil.copytree(made.folder.parent / "data", tmp_path / "data")
    for number in range(2):
        (tmp_path / "data" / "real" / f"{number}r.jpg").unlink()
    found = df.data.shortcuts(f"crops:{made.folder}", side=64, files=tmp_path / "data")
    assert found.settings["faces"] == 2 * COUNT
    assert "face_px" in features(found)
    assert not features(found) & {"bytes_per_pixel"}, "19 real files are too few"


def test_a_pack_is_audited_without_its_files(made, tmp_path):
    packed = pack(made, tmp_path / "faces.pack")
    found = df.data.shortcuts(packed.folder, side=64)
    assert "files, --files" in found.left_out["jpeg_quality"]
    assert {"sharpness_1", "face_px"} <= features(found)


def test_crops_that_the_store_cannot_give_are_refused(made):
    with pytest.raises(TrainingDataError, match=r"its crops reach 1.7 times the face"):
        df.data.shortcuts(f"crops:{made.folder}", margin=2.5)


def test_whole_pictures_are_audited_without_a_box(tmp_path):
    write_tiny(tmp_path / "data", {"real": COUNT, "fake": COUNT}, side=40)
    store = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", crop="whole")
    with pytest.raises(TrainingDataError, match="it holds whole pictures"):
        df.data.shortcuts(f"crops:{store.folder}")
    found = df.data.shortcuts(store.folder, detector=SimpleNamespace(manifest=SimpleNamespace(preprocess=WHOLE)))
    assert "sharpness_1" in features(found)
    assert "face_px" not in features(found)
    assert found.settings["margin"] is None


def test_damaged_rows_are_counted(made, tmp_path):
    copy = tmp_path / "store"
    shutil.copytree(made.folder, copy)
    shard = next((copy / "shards").iterdir())
    content = bytearray(shard.read_bytes())
    offset = int(np.load(copy / "index" / "offset.npy")[0])
    content[offset + 20] ^= 255
    shard.write_bytes(bytes(content))
    found = df.data.shortcuts(f"crops:{copy}", side=64)
    assert (found.unreadable, found.settings["faces"]) == (1, 2 * COUNT - 1)

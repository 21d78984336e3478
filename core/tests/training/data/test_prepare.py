"""Tests of making stores: the crops, the rejected samples, and that a kill loses no complete shard."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from crop_stores import FACE, Failing, face_store, write_faces, write_tiny
from media import video_bytes
from mini_sets import overwrite
from PIL import Image

from deepfake_core.data.crops.prepare import prepare
from deepfake_core.data.manifest import held_out_hashes
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.crop_store.store import HASHES, CropStore
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.crop import prepare_crop
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.testing import draw_face

pytestmark = pytest.mark.torch


def largest(pixels):
    return max((face.box for face in FaceFinder().find(pixels)), key=lambda box: box.width * box.height)


def rejected(store):
    with (store.folder / "rejected.csv").open(newline="") as stream:
        return [tuple(row) for row in csv.reader(stream)][1:]


@pytest.mark.parametrize("border", ["reflect", "replicate", "constant"])
def test_a_stored_face_gives_the_detectors_crop_of_the_full_picture(tmp_path, border):
    # The head is cut off by the edge of the image; the store must leave the filling to the detector.
    write_faces(tmp_path / "data", 1, 1)
    Image.fromarray(draw_face(5, 240)[30:]).save(tmp_path / "data" / "real" / "1.png")
    store = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", quality=None)
    spec = FACE.model_copy(update={"crop": FACE.crop.model_copy(update={"border": border})})
    assert len(store) == 3
    for row in range(3):
        pixels = decode(tmp_path / "data" / store.origin(row)).pixels
        wanted = prepare_crop(pixels, largest(pixels), spec).astype(int)
        np.testing.assert_allclose(prepare_crop(store.read(row), store.box(row), spec), wanted, atol=1)


def test_large_faces_are_reduced_and_small_ones_not_enlarged(tmp_path):
    write_faces(tmp_path / "data", 1, 1, side=200)
    Image.fromarray(draw_face(1, 400)).resize((1600, 1600)).save(tmp_path / "data" / "real" / "large.jpg", quality=95)
    store = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", side=128)
    rows = {store.origin(row): row for row in range(len(store))}
    box = store.box(rows["real/large.jpg"])
    assert 1.7 * max(box.width, box.height) == pytest.approx(128, abs=2)
    assert max(store.sizes[rows["real/large.jpg"]]) <= 128
    plain = prepare(ImageFolder(tmp_path / "data"), tmp_path / "plain", side=1000)
    full = largest(decode(tmp_path / "data" / "real" / "0.png").pixels)
    box = plain.box({plain.origin(row): row for row in range(len(plain))}["real/0.png"])
    assert (box.width, box.height) == pytest.approx((full.width, full.height), abs=0.01)


def test_a_reduced_decode_keeps_enough_for_the_crop(tmp_path):
    # A small face in a large JPEG: the reduced image of the first look must not be stored.
    picture = np.full((2400, 3200, 3), 120, np.uint8)
    picture[800:1200, 1000:1400] = draw_face(2, 400)
    for kind in ("real", "fake"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "data" / kind / "0.jpg", quality=95)
    store = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", side=320)
    box = store.box(0)
    assert 1.7 * max(box.width, box.height) > 310


def test_whole_pictures_keep_their_shape(tmp_path):
    write_tiny(tmp_path / "data", {"real": 1, "fake": 1})
    Image.fromarray(np.zeros((60, 120, 3), np.uint8)).save(tmp_path / "data" / "real" / "wide.png")
    store = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", crop="whole", side=40)
    sizes = {store.origin(row): tuple(store.sizes[row]) for row in range(3)}
    assert sizes == {"real/00000.png": (8, 8), "fake/00000.png": (8, 8), "real/wide.png": (40, 80)}
    assert np.isnan(store.boxes).all()


def test_what_is_left_out_is_listed_with_the_reason(tmp_path):  # 001-26
    write_faces(tmp_path / "data", 2, 2)
    real = tmp_path / "data" / "real"
    (real / "torn.png").write_bytes((real / "0.png").read_bytes()[:2000])
    (real / "empty.jpg").write_bytes(b"")
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(real / "grey.png")
    store = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store")
    assert len(store) == 4
    assert store.rejected == 3
    reasons = {path: reason for path, _, reason in rejected(store)}
    assert reasons["real/grey.png"] == "no face found"
    assert "damaged" in reasons["real/torn.png"]
    assert "empty" in reasons["real/empty.jpg"]


def test_pictures_are_not_read_again_for_the_hash_of_the_data(tmp_path):
    write_tiny(tmp_path / "data", {"real": 3, "fake": 3})
    (tmp_path / "data" / "real" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    data = ImageFolder(tmp_path / "data")
    expected = held_out_hashes(data)
    known = prepare(data, tmp_path / "store", crop="whole").folder / HASHES
    pictures = sorted((tmp_path / "data").rglob("*.png"))
    for path in pictures:
        overwrite(path)
    assert held_out_hashes(data, known) == expected != held_out_hashes(data)
    pictures[0].write_bytes(b"another size")
    assert held_out_hashes(data, known) != expected


def test_a_video_is_hashed_when_it_is_asked_for_and_then_remembered(tmp_path):
    video = tmp_path / "data" / "fake" / "clip.mp4"
    write_tiny(tmp_path / "data", {"real": 1, "fake": 1})
    video.write_bytes(video_bytes([draw_face(3, 160)] * 3))
    data = ImageFolder(tmp_path / "data")
    known = prepare(data, tmp_path / "store", crop="whole").folder / HASHES
    expected = held_out_hashes(data)
    assert held_out_hashes(data, known) == expected
    overwrite(video)
    assert held_out_hashes(data, known) == expected != held_out_hashes(data)


def test_a_dataset_without_any_face_is_an_error_that_says_why(tmp_path):
    write_tiny(tmp_path / "data", {"real": 2, "fake": 2}, side=64)
    with pytest.raises(TrainingDataError, match=r"none of 4 samples .*rejected\.csv.*no face found"):
        prepare(ImageFolder(tmp_path / "data"), tmp_path / "store")


def test_frames_of_a_video_are_rows_in_order(tmp_path):  # 003-12
    write_faces(tmp_path / "data", 1, 1)
    frames = [draw_face(3, 160)] * 6 + [np.full((160, 160, 3), 90, np.uint8)] * 3
    (tmp_path / "data" / "fake" / "clip.mp4").write_bytes(video_bytes(frames))
    (tmp_path / "data" / "fake" / "torn.mp4").write_bytes(video_bytes(frames)[:300])
    store = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", frames=5)
    rows = [row for row in range(len(store)) if "clip" in store.origin(row)]
    assert len(rows) >= 3
    assert store.frames[rows].tolist() == list(range(len(rows)))
    assert len(set(store.videos[rows].tolist())) == len(set(store.groups[rows].tolist())) == 1
    assert store.origin(rows[1]) == "fake/clip.mp4 frame 1"
    assert {path: frame for path, frame, _ in rejected(store)} == {"fake/clip.mp4": "4", "fake/torn.mp4": ""}


def test_samples_are_limited_evenly_over_the_dataset(tmp_path):  # 004-7
    write_tiny(tmp_path / "data", {"a/real": 20, "a/fake": 20, "b/real": 10})
    store = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", crop="whole", max_images=10)
    assert len(store) == 10
    assert np.bincount(store.fake).tolist() == [6, 4]
    assert np.bincount(store.sources).tolist() == [8, 2]
    again = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", crop="whole", max_images=10)
    assert again.fingerprint == store.fingerprint


@pytest.mark.parametrize(
    "change", [{"side": 96}, {"margin": 2.0}, {"quality": 90}, {"frames": 3}, {"crop": "whole"}, {"max_images": 3}]
)
def test_a_changed_specification_invalidates_the_store(tmp_path, change):  # 001-31
    store = face_store(tmp_path, 2, 2, side=100)
    dataset, options = ImageFolder(tmp_path / "data"), {"side": 100, **change}
    (name,) = change
    with pytest.raises(TrainingDataError, match=rf"made with {name}=.*not {change[name]}.*rebuild=True"):
        prepare(dataset, store.folder, **options)
    assert CropStore(store.folder).fingerprint == store.fingerprint
    assert prepare(dataset, store.folder, **options, rebuild=True).fingerprint != store.fingerprint


def test_settings_out_of_range_are_named(tmp_path):
    write_tiny(tmp_path / "data", {"real": 1, "fake": 1})
    with pytest.raises(TrainingDataError, match=r"margin=9\.0: .*less than or equal to 8; side=4: "):
        prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", side=4, margin=9.0)
    assert not (tmp_path / "store").exists()


def test_margins_beyond_any_detectors_are_stored_as_far_as_the_picture_reaches(tmp_path):
    store = face_store(tmp_path, 1, 1, margin=6.0)
    for row in range(2):
        box = store.box(row)
        assert 6 * max(box.width, box.height) == pytest.approx(320, rel=0.02)  # the square, most of it not stored
        assert store.sizes[row].max() < 200


def test_a_store_of_the_same_data_is_not_made_again(tmp_path):
    store = face_store(tmp_path, 2, 2)
    before = (store.folder / "store.json").stat().st_mtime_ns
    assert prepare(ImageFolder(tmp_path / "data"), store.folder).fingerprint == store.fingerprint
    assert (store.folder / "store.json").stat().st_mtime_ns == before


def test_changed_data_are_noticed(tmp_path):
    store = face_store(tmp_path, 2, 2)
    (tmp_path / "data" / "real" / "0.png").unlink()
    with pytest.raises(TrainingDataError, match="dataset has changed since"):
        prepare(ImageFolder(tmp_path / "data"), store.folder)
    assert len(prepare(ImageFolder(tmp_path / "data"), store.folder, rebuild=True)) == 3


def test_a_folder_with_other_things_is_never_touched(tmp_path):
    write_faces(tmp_path / "data", 1, 1)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("mine")
    for rebuild in (False, True):
        with pytest.raises(TrainingDataError, match=r"'thesis\.txt', which is no part of a store"):
            prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", rebuild=rebuild)
    assert (tmp_path / "store" / "thesis.txt").read_text() == "mine"


class Archive(Dataset):
    """Layout that can be read in one pass only."""

    def __iter__(self):
        return (sample for sample, _ in self.stream())

    def stream(self):
        for number in range(6):
            sample = Sample(self.root, number % 2 == 1, "a", "seq", member=f"{number}.png", frame=5 - number)
            yield sample, (self.root.parent / "pictures" / f"{number:05d}.png").read_bytes()

    def read(self, sample):
        raise AssertionError("one pass is enough")


def test_archives_are_read_in_one_pass(tmp_path):
    write_tiny(tmp_path, {"pictures": 6})
    (tmp_path / "data.tar.gz").write_bytes(b"archive")
    store = prepare(Archive(tmp_path / "data.tar.gz"), tmp_path / "store", crop="whole")
    assert [store.origin(row) for row in range(2)] == ["data.tar.gz!0.png", "data.tar.gz!1.png"]
    assert store.frames.tolist() == [5, 4, 3, 2, 1, 0]
    assert len(set(store.videos[store.fake == 1].tolist())) == 1
    assert store.videos[0] != store.videos[1], "a real sequence and its fake are two videos"


SLOW = """
import sys, time
from pathlib import Path
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.data.crops.prepare import prepare

class Slow(ImageFolder):
    def __iter__(self):
        for sample in super().__iter__():
            time.sleep(float(sys.argv[3]))
            yield sample

Slow.__name__ = "ImageFolder"
prepare(Slow(Path(sys.argv[1])), Path(sys.argv[2]), crop="whole", shard_mb=0.02, workers=2)
"""


@pytest.mark.parametrize("parts", [1, 3])
def test_a_killed_run_goes_on_after_its_last_whole_shard(tmp_path, parts):
    write_tiny(tmp_path / "data", {"real": 40, "fake": 40}, side=16)
    whole = prepare(ImageFolder(tmp_path / "data"), tmp_path / "whole", crop="whole", shard_mb=0.02)
    assert len(whole.shards) > 5
    folder = tmp_path / "store"
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path / "data"), str(folder), "0.02"])
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("parts/*.npz"))) < parts:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with pytest.raises(TrainingDataError, match="interrupted; run it again"):
        CropStore(folder)
    finished = {path: path.stat().st_mtime_ns for path in sorted(folder.glob("shards/*.tar"))[:parts]}
    (folder / "shards" / ".000009.tar.torn.tmp").write_bytes(b"torn")
    (folder / ".store.json.torn.tmp").write_bytes(b"torn")
    store = prepare(ImageFolder(tmp_path / "data"), folder, crop="whole", shard_mb=0.02)
    assert store.fingerprint == whole.fingerprint
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not list(folder.rglob("*.tmp"))
    for name in store.shards:
        assert (folder / "shards" / name).read_bytes() == (whole.folder / "shards" / name).read_bytes()


def test_parts_that_a_kill_left_beside_a_complete_store_are_removed(tmp_path):
    write_tiny(tmp_path / "data", {"real": 4, "fake": 4}, side=16)
    whole = prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", crop="whole")
    (whole.folder / "parts").mkdir()
    (whole.folder / "parts" / "000000.npz").touch()
    assert prepare(ImageFolder(tmp_path / "data"), whole.folder, crop="whole").fingerprint == whole.fingerprint
    assert not (whole.folder / "parts").exists()


def test_an_interrupted_store_does_not_go_on_with_other_data(tmp_path):
    write_tiny(tmp_path / "data", {"real": 30, "fake": 30}, side=16)

    with pytest.raises(TrainingDataError, match="unplugged"):
        prepare(Failing(tmp_path / "data"), tmp_path / "store", crop="whole", shard_mb=0.02)
    assert not json.loads((tmp_path / "store" / "store.json").read_text())["complete"]
    assert not list((tmp_path / "store").rglob("*.tmp"))
    (tmp_path / "data" / "fake" / "00000.png").unlink()
    with pytest.raises(TrainingDataError, match="changed since this store was begun"):
        prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", crop="whole", shard_mb=0.02)

"""The store of crops: what it keeps, how it is read, and what happens when it is damaged."""

import hashlib
import io
import json
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from crop_stores import Listed, face_store
from PIL import Image

from deepfake_core.data.crops.file_hashes import file_hashes, files_of
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.data.seen import seen_by
from deepfake_core.datasets.crop_store import members
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.store import HASHES, SPLITS, CropStore
from deepfake_core.discovery.training_groups import TrainingGroups, hash_of_file
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.evaluation.samples import Subset
from deepfake_core.inputs.decode import decode

pytestmark = pytest.mark.torch


@pytest.fixture
def listed(tmp_path):
    return Listed(
        tmp_path / "data",
        [
            ("0.png", {"group": "g0", "identities": ("anna",), "split": "train"}),
            ("1.png", {"group": "g1", "identities": ("anna", "ben"), "split": "valid"}),
            ("2.png", {"group": "g2", "identities": ("ben",), "split": "test", "source": "b"}),
            ("3.png", {"group": "g3", "identities": ("carl",)}),
            ("ü/4.png", {"group": "g3"}),
        ],
    )


def whole(dataset, folder, **options):
    return prepare(dataset, folder, crop="whole", quality=None, **options)


def test_rows_say_where_they_come_from(listed, tmp_path):
    store = whole(listed, tmp_path / "store")
    assert len(store) == 5
    assert [store.origin(row) for row in range(5)] == ["0.png", "1.png", "2.png", "3.png", "ü/4.png"]
    assert store.fake.tolist() == [0, 1, 0, 1, 0]
    assert [store.source_names[code] for code in store.sources] == ["a", "a", "b", "a", "a"]
    assert [store.group_names[code] for code in store.groups] == ["g0", "g1", "g2", "g3", "g3"]
    assert [SPLITS[code] for code in store.splits] == ["train", "valid", "test", "", ""]
    assert store.rows("valid").tolist() == [1]
    assert store.identities(1) == ("anna", "ben")
    assert store.persons(np.array([1, 3, 4])) == {"anna", "ben", "carl"}, "each row of a group counts"
    assert [store.read(row)[0, 0, 0] for row in range(5)] == list(range(5))
    assert store.box(0) is None


def test_the_files_that_a_store_was_made_of_are_known_by_their_hashes(listed, tmp_path):
    store = whole(listed, tmp_path / "store")
    expected = [
        hash_of_file(hashlib.sha256((tmp_path / "data" / name).read_bytes()).hexdigest())
        for name in ("0.png", "1.png", "2.png", "3.png", "ü/4.png")
    ]
    assert file_hashes(store)[store.origins].tolist() == expected
    assert list(files_of(store, np.array([1, 4]))) == [("g1", expected[1]), ("g3", expected[4])]
    model = SimpleNamespace(training_groups=TrainingGroups.of([], [], expected[:1]))
    dataset = StoredCrops(tmp_path / "store")
    (seen,) = seen_by([model], Subset(dataset, list(dataset)[:2]))
    assert (seen.count, seen.total, seen.names) == (1, 2, ("g0",))
    (tmp_path / "store" / HASHES).write_bytes(b"no database")
    assert not file_hashes(CropStore(tmp_path / "store")).any()


def test_groups_that_share_a_person_are_one_family(listed, tmp_path):
    store = whole(listed, tmp_path / "store")
    names = [store.family_names[code] for code in store.families]
    assert names == ["g2", "g2", "g2", "g3", "g3"]


def test_shards_are_plain_tar_files_with_pictures_and_labels(listed, tmp_path):  # 001-28
    store = whole(listed, tmp_path / "store", shard_mb=0.003)
    assert len(store.shards) > 1
    found = {}
    for name in store.shards:
        with tarfile.open(store.folder / "shards" / name) as tar:
            for member in tar:
                found[member.name] = tar.extractfile(member).read()
    assert sorted(found) == [f"{row:08d}.{suffix}" for row in range(5) for suffix in ("json", "png")]
    about = json.loads(found["00000001.json"])
    assert (about["fake"], about["label"], about["group"], about["origin"]) == (1, "fake", "g1", "1.png")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found["00000003.png"]))), store.read(3))


def test_a_store_is_a_dataset_of_its_rows(tmp_path):
    store = face_store(tmp_path, real=2, fake=1)
    dataset = StoredCrops(store.folder)
    assert StoredCrops.recognises(store.folder)
    assert not StoredCrops.recognises(tmp_path)
    samples = list(dataset)
    assert [sample.is_fake for sample in samples] == store.fake.tolist()
    for row, sample in enumerate(samples):
        np.testing.assert_array_equal(decode(dataset.read(sample)).pixels, store.read(row))
    assert prepare(dataset, tmp_path / "other") is dataset.store
    assert not (tmp_path / "other").exists()


def test_the_index_is_mapped_and_a_copy_opens_its_own(listed, tmp_path):  # 004-13
    store = whole(listed, tmp_path / "store")
    assert not any(getattr(store, name).flags.owndata for name in ("fake", "groups", "boxes", "splits"))
    message = pickle.dumps(store)
    assert len(message) < 500
    np.testing.assert_array_equal(pickle.loads(message).read(2), store.read(2))


def test_many_threads_read_more_shards_than_may_be_open(listed, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "_MOST_OPEN", 1)
    store = whole(listed, tmp_path / "store", shard_mb=0.001)
    assert len(store.shards) == 5
    before = psutil.Process().num_fds()
    with ThreadPoolExecutor(4) as pool:
        levels = list(pool.map(lambda row: int(store.read(row)[0, 0, 0]), list(range(5)) * 40))
    assert levels == list(range(5)) * 40
    assert psutil.Process().num_fds() <= before + 1


def test_threads_share_files_where_the_system_reads_at_the_position_of_a_file_only(tmp_path, monkeypatch):
    content = bytes(range(256)) * 400
    (tmp_path / "shard").write_bytes(content)
    for name in ("pread", "O_CLOEXEC"):
        monkeypatch.delattr(os, name, raising=False)  # as on Windows
    files = members.Members(tmp_path)
    places = np.random.default_rng(0).integers(0, len(content) - 100, 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda place: files.read("shard", place, 100), places))
    assert read == [content[place : place + 100] for place in places]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"spec": {"format": 2}}, "a store of version 2, and this program reads version 1; update the older"),
        ({"spec": {"side": "wide"}}, r"not a store that this version can read; .*rebuild=True.*side"),
        ({"spec": "x"}, "not a store that this version can read"),
    ],
)
def test_a_store_of_another_version_is_refused_in_one_line(listed, tmp_path, change, reason):
    record = whole(listed, tmp_path / "store").folder / "store.json"
    about = json.loads(record.read_text())
    spec = {**about["spec"], **change["spec"]} if isinstance(change["spec"], dict) else change["spec"]
    record.write_text(json.dumps({**about, "spec": spec}))
    with pytest.raises(TrainingDataError, match=reason) as caught:
        CropStore(tmp_path / "store")
    assert "store.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_picture_is_an_error_that_names_it(listed, tmp_path):
    store = whole(listed, tmp_path / "store")
    shard, offset, length = store.span(2)
    with (store.folder / "shards" / store.shards[shard]).open("r+b") as stream:
        stream.seek(offset + length // 2)
        stream.write(b"\0\1\2\3")
    with pytest.raises(InputError, match=r"2\.png: its stored crop in .*000000\.tar is damaged; prepare"):
        store.read(2)
    assert store.read(1)[0, 0, 0] == 1


@pytest.mark.parametrize("damage", ["shard", "column", "names", "record", "unfinished", "no record"])
def test_a_store_that_is_not_whole_is_refused(listed, tmp_path, damage):
    folder = whole(listed, tmp_path / "store").folder
    record = folder / "store.json"
    if damage == "shard":
        path = folder / "shards" / "000000.tar"
        path.write_bytes(path.read_bytes()[:-512])
    elif damage == "column":
        np.save(folder / "index" / "fake.npy", np.zeros(3, np.int8))
    elif damage == "names":
        (folder / "index" / "origin_names.bin").unlink()
    elif damage == "record":
        record.write_text(record.read_text()[:40])
    elif damage == "unfinished":
        record.write_text(json.dumps({**json.loads(record.read_text()), "complete": False}))
    else:
        record.unlink()
    remedy = {"unfinished": "run it again", "no record": "dfbench data prepare"}.get(damage, "rebuild=True")
    with pytest.raises(TrainingDataError, match=remedy):
        CropStore(folder)


def test_the_fingerprint_is_of_the_content(listed, tmp_path):
    first = whole(listed, tmp_path / "one")
    assert len(first.fingerprint) == 64
    assert whole(listed, tmp_path / "two", shard_mb=0.001).fingerprint == first.fingerprint
    listed.samples[3] = ("3.png", {"group": "g3", "identities": ("dora",)})
    assert whole(listed, tmp_path / "three").fingerprint != first.fingerprint


@pytest.mark.filterwarnings("error")
def test_a_file_is_closed_even_at_the_end_of_the_interpreter(tmp_path, monkeypatch):
    (tmp_path / "faces.bin").write_bytes(b"1")
    file = members._OpenFile(tmp_path / "faces.bin")
    descriptor = file.descriptor
    monkeypatch.setattr(members, "os", None)  # as the interpreter leaves it
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)

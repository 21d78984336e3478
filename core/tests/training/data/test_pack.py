"""Packs: what they keep of a store, that damage is found and named, and that nothing half-written stays."""

import errno
import pickle
import re
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
from crop_stores import Listed, draw_landmarks, face_store

from deepfake_core.data.check import check
from deepfake_core.data.crops import pack as pack_module
from deepfake_core.data.crops.file_hashes import file_hashes
from deepfake_core.data.crops.landmarks import find_landmarks
from deepfake_core.data.crops.pack import pack
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.pack import Part, is_pack, parts_of
from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import DeepfakeError, InputError, TrainingDataError
from deepfake_core.inputs.decode import decode
from deepfake_registry.provenance import SourceTerms

pytestmark = pytest.mark.torch

KEPT = ("fake", "sources", "groups", "families", "splits", "videos", "frames", "origins")
TERMS = SourceTerms(name="data", what="drawn faces", terms="none")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return draw_landmarks(face_store(tmp_path_factory.mktemp("faces"), real=3, fake=2))


@pytest.fixture(scope="module")
def packed(store, tmp_path_factory):
    return pack(store, tmp_path_factory.mktemp("pack") / "faces.pack", terms=[TERMS])


def noisy(folder, count=12, side=200):
    """A store of whole pictures of noise, which take about 35 kB each."""
    dataset = Listed(folder / "data", [(f"{number}.png", {}) for number in range(count)])
    rng = np.random.default_rng(0)
    for sample in dataset:
        cv2.imwrite(str(sample.path), rng.integers(0, 256, (side, side, 3), np.uint8))
    return prepare(dataset, folder / "store", crop="whole")


def test_a_pack_holds_what_its_store_says(store, packed):
    for name in KEPT:
        np.testing.assert_array_equal(getattr(packed, name), getattr(store, name))
    np.testing.assert_array_equal(packed.boxes, store.boxes)
    np.testing.assert_array_equal(packed.points, store.points)
    np.testing.assert_array_equal(packed.neighbours, store.neighbours)
    assert [packed.origin(row) for row in range(5)] == [store.origin(row) for row in range(5)]
    assert file_hashes(packed).tolist() == file_hashes(store).tolist()
    assert file_hashes(packed).all()
    assert (packed.dataset, packed.samples, packed.labels) == (store.dataset, store.samples, store.labels)
    assert (packed.packed.store, packed.packed.terms) == (store.fingerprint, (TERMS,))
    assert packed.fingerprint != store.fingerprint


def test_all_crops_are_coded_anew_in_the_same_way(store, packed, tmp_path):
    jpeg = pack(store, tmp_path / "jpeg.pack", coding="jpeg", quality=80)
    for row in range(len(store)):
        assert packed.encoded(row)[8:12] == b"WEBP"
        assert jpeg.encoded(row)[:2] == b"\xff\xd8"
        difference = np.abs(packed.read(row).astype(int) - store.read(row))
        assert 0 < difference.mean() < 3


def test_large_faces_are_reduced_with_their_boxes(store, tmp_path):
    small = pack(store, tmp_path / "small.pack", side=100)
    assert small.spec.side == 100
    for row in range(len(store)):
        assert max(small.read(row).shape) <= 100
        assert tuple(small.sizes[row]) == small.read(row).shape[:2]
        assert max(small.boxes[row, 2:]) * small.spec.margin == pytest.approx(100, abs=1)
        shares = np.tile(store.sizes[row][::-1], 2)
        np.testing.assert_allclose(small.boxes[row] / np.tile(small.sizes[row][::-1], 2), store.boxes[row] / shares)


def test_the_same_store_and_settings_give_the_same_bytes(store, packed, tmp_path):
    again = pack(store, tmp_path / "again.pack", terms=[TERMS], workers=3)
    assert again.folder.read_bytes() == packed.folder.read_bytes()
    assert pack(again, tmp_path / "smaller.pack", quality=50).packed.store == packed.fingerprint


def test_a_pack_is_the_dataset_of_its_rows_wherever_a_store_is(packed):
    dataset = open_dataset(str(packed.folder))
    assert isinstance(dataset, StoredCrops)
    assert len(list(open_dataset(f"crops:{packed.folder}"))) == 5
    for row, sample in enumerate(dataset):
        np.testing.assert_array_equal(decode(dataset.read(sample)).pixels, packed.read(row))
    report = check(dataset)
    assert report.fit
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(packed)).read(2), packed.read(2))


def test_arrays_are_mapped_at_aligned_offsets(packed):
    with zipfile.ZipFile(packed.folder) as archive:
        names = archive.namelist()
        assert not any(info.compress_type for info in archive.infolist())
        assert archive.testzip() is None
    assert all(packed.members.place(name)[1] % 64 == 0 for name in names)
    assert not packed.points.flags.owndata
    assert not packed.fake.flags.owndata


def test_unzipped_parts_are_a_store(tmp_path):
    packed = pack(noisy(tmp_path), tmp_path / "noise.pack", max_mb=0.2)
    for part in parts_of(packed.folder):
        with zipfile.ZipFile(part) as archive:
            archive.extractall(tmp_path / "folder")
    folder = CropStore(tmp_path / "folder")
    assert folder.suffix == "webp"
    np.testing.assert_array_equal(folder.read(11), packed.read(11))


def test_parts_are_joined_and_a_missing_one_is_named(tmp_path):
    store = noisy(tmp_path)
    packed = pack(store, tmp_path / "noise.pack", max_mb=0.2)
    parts = sorted(path.name for path in tmp_path.glob("noise*"))
    assert parts[0] == "noise.2.pack"
    assert all((tmp_path / name).stat().st_size <= 200_000 for name in parts)
    assert [packed.origin(row) for row in range(12)] == [f"{row}.png" for row in range(12)]
    assert len({packed.read(row).tobytes() for row in range(12)}) == 12
    second = tmp_path / "noise.2.pack"
    with pytest.raises(TrainingDataError, match=r"noise\.2\.pack: is part 2 of a pack; give .* noise\.pack$"):
        CropStore(second)
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(TrainingDataError, match=r"noise\.2\.pack: missing, part 2 of \d of noise\.pack; put it"):
        CropStore(packed.folder)
    pack(store, tmp_path / "other.pack", max_mb=0.2, quality=80)
    (tmp_path / "other.2.pack").replace(second)
    with pytest.raises(TrainingDataError, match=r"noise\.2\.pack: belongs to another pack"):
        CropStore(packed.folder)
    second.write_bytes(content)
    assert len(CropStore(packed.folder)) == 12
    pack(store, packed.folder, force=True)
    assert sorted(path.name for path in tmp_path.glob("noise*")) == ["noise.pack"]


def test_a_size_that_cannot_be_kept_is_refused(store, tmp_path):
    with pytest.raises(TrainingDataError, match=r"must fit into the first file.* allow 1 MB or more"):
        pack(store, tmp_path / "faces.pack", max_mb=0.05)
    with pytest.raises(TrainingDataError, match="quality is out of its range"):
        pack(store, tmp_path / "faces.pack", quality=0)
    assert not list(tmp_path.iterdir())


def test_another_file_is_not_overwritten(store, packed, tmp_path):
    path = tmp_path / "faces.pack"
    path.write_bytes(packed.folder.read_bytes())
    assert pack(store, path, terms=[TERMS]).fingerprint == packed.fingerprint
    with pytest.raises(TrainingDataError, match=r"is there already.*--force"):
        pack(store, path, quality=80)
    assert pack(store, path, quality=80, force=True).packed.quality == 80
    with pytest.raises(TrainingDataError, match="is the pack that is to be packed"):
        pack(CropStore(path), path, quality=50, force=True)
    with pytest.raises(TrainingDataError, match="is a folder; name a file"):
        pack(store, tmp_path, force=True)
    beside = tmp_path / "faces.2.pack"
    beside.write_bytes(packed.folder.read_bytes())  # a pack of its own, whatever its name
    pack(store, path, quality=70, force=True)
    assert beside.read_bytes() == packed.folder.read_bytes()


def test_a_pack_that_lacks_what_its_store_has_is_not_taken_for_it(tmp_path):
    store, path = face_store(tmp_path, real=2, fake=1), tmp_path / "faces.pack"
    packed = pack(store, path)
    with_landmarks = draw_landmarks(store)
    with pytest.raises(TrainingDataError, match=r"is there already.*as it is now.*--force"):
        pack(with_landmarks, path)
    whole = pack(with_landmarks, path, force=True)
    assert packed.points is None
    assert whole.points is not None
    content, (_, offset, length) = bytearray(path.read_bytes()), whole.place(1)
    content[offset + length // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainingDataError, match=r"is there already.*no whole pack.*--force"):
        pack(with_landmarks, path)


def test_a_further_file_is_not_overwritten(tmp_path):
    store, beside = noisy(tmp_path), tmp_path / "noise.2.pack"
    beside.write_bytes(b"of the user")
    with pytest.raises(TrainingDataError, match=r"noise\.2\.pack: is there already.*--force"):
        pack(store, tmp_path / "noise.pack", max_mb=0.2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "noise.2.pack", "store"]
    assert len(pack(store, tmp_path / "noise.pack", max_mb=0.2, force=True)) == 12


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_stays(store, tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(pack_module, "encode", fails)
    with pytest.raises(DeepfakeError if isinstance(error, OSError) else KeyboardInterrupt):
        pack(store, tmp_path / "faces.pack")
    assert not list(tmp_path.iterdir())


def test_landmarks_are_not_found_in_a_pack(store, tmp_path):
    without = CropStore(face_store(tmp_path, real=1, fake=1).folder)
    packed = pack(without, tmp_path / "faces.pack")
    assert packed.points is None
    with pytest.raises(TrainingDataError, match=r"a pack is never changed; find the landmarks in the store"):
        find_landmarks(packed)


def read_all(path):
    """Everything that a pack gives, as bytes."""
    store = CropStore(path)
    arrays = [store.points, store.neighbours, store.boxes, *(getattr(store, name) for name in KEPT)]
    texts = [store.fingerprint, store.labels, *(store.origin(row) for row in range(len(store)))]
    pixels = [store.read(row) for row in range(len(store))]
    return b"".join(part.tobytes() for part in (*arrays, *pixels)) + "|".join(texts).encode()


def test_a_flipped_bit_anywhere_is_found_or_harmless(packed, tmp_path):
    whole, wanted = packed.folder.read_bytes(), read_all(packed.folder)
    path = tmp_path / "faces.pack"
    rng = np.random.default_rng(0)
    places = [*rng.integers(0, len(whole), 20).tolist(), *range(len(whole) - 150, len(whole), 5)]
    places += [found.start() + int(rng.integers(46)) for found in re.finditer(b"PK", whole)]
    errors = []
    for place in places:
        damaged = bytearray(whole)
        damaged[min(place, len(whole) - 1)] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert read_all(path) == wanted
        except (TrainingDataError, InputError) as error:
            errors.append(str(error))
    assert len(errors) > len(places) / 2
    assert not [error for error in errors if "\n" in error or "faces.pack" not in error or "data pack" not in error]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("store.json", r"faces\.pack: store\.json is damaged; copy the pack again"),
        ("index/group.npy", r"faces\.pack: index/group\.npy is damaged; copy the pack again"),
        ("index/points.npy", r"faces\.pack: index/points\.npy is damaged; copy the pack again"),
        ("shards/000000.webps", r"its stored crop in .*faces\.pack is damaged; copy the pack again"),
    ],
)
def test_damage_names_the_file_and_the_remedy(packed, tmp_path, member, message):
    content = bytearray(packed.folder.read_bytes())
    content[packed.members.place(member)[1] + packed.members.size(member) - 1] ^= 16
    path = tmp_path / "faces.pack"
    path.write_bytes(content)
    with pytest.raises((TrainingDataError, InputError), match=message):
        CropStore(path).read(4)


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, 0.99, -1])
def test_a_pack_that_is_cut_short_is_refused(packed, tmp_path, kept):
    content = packed.folder.read_bytes()
    path = tmp_path / "faces.pack"
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(TrainingDataError, match=r"faces\.pack: is (damaged or cut short|no pack)"):
        open_dataset(str(path)).store  # noqa: B018 - it opens the pack


def test_other_files_are_no_packs(packed, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 a photo")
    assert not is_pack(tmp_path / "photo.jpg")
    with pytest.raises(TrainingDataError, match=r"photo\.jpg: is no pack of face crops; make one"):
        CropStore(tmp_path / "photo.jpg")
    with zipfile.ZipFile(tmp_path / "other.pack", "w") as archive:
        archive.writestr("../escaped", "text")
    with pytest.raises(TrainingDataError, match=r"other\.pack: is damaged or cut short"):
        CropStore(tmp_path / "other.pack")
    content = packed.folder.read_bytes()
    renamed = tmp_path / "faces.zip"
    renamed.write_bytes(content)
    assert is_pack(renamed)
    assert CropStore(renamed).fingerprint == packed.fingerprint
    first = Part(1, 1, 1, packed.fingerprint)
    renamed.write_bytes(content.replace(first.comment(), first._replace(version=2).comment()))
    with pytest.raises(TrainingDataError, match=r"faces\.zip: another version .*layout 2.*install a newer version"):
        CropStore(renamed)


def test_arrays_of_objects_are_refused(packed, tmp_path):
    """A pack may come from anybody: nothing of it is unpickled, and no name leads out of it."""
    path = tmp_path / "faces.pack"
    with zipfile.ZipFile(packed.folder) as whole, zipfile.ZipFile(path, "w") as archive:
        for name in whole.namelist():
            content = whole.read(name)
            if name == "index/fake.npy":
                content = content.replace(b"'|i1'", b"'|O' ")
            archive.writestr(name, content)
        archive.comment = whole.comment
    with pytest.raises(TrainingDataError, match=r"index/fake\.npy cannot be read; copy the pack again"):
        CropStore(path)


def test_opening_a_pack_loads_no_torch_and_no_video_decoder(packed):
    script = (
        "import sys; from deepfake_core.datasets.crop_store.store import CropStore;"
        f"CropStore({str(packed.folder)!r}).read(0); print(sorted({{'torch', 'av', 'openvino'}} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"

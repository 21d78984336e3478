"""Pictures and clips from a store: order, balance, what varies, and that nothing but the key decides an item."""

import os
import pickle
import shutil

import numpy as np
import psutil
import pytest
import torch
from crop_stores import FACE, WHOLE, face_store, write_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from media import grey_frames, video_bytes
from torch.utils.data import DataLoader

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.inputs.crop import prepare_crop
from deepfake_core.training.data.pictures import CHUNK, WINDOW, ClipSet, PictureSet, bounded_shuffle
from deepfake_core.training.data.videos import Videos
from deepfake_core.training.data.views import StoreClips, StoreCrops
from deepfake_registry.manifest import Clip

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return face_store(tmp_path_factory.mktemp("faces"), 4, 4)


@pytest.fixture
def tiny(tmp_path):
    write_tiny(tmp_path / "data", {"a/real": 12, "a/fake": 4, "b/fake": 2})
    return prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", crop="whole", quality=None)


def everything(store):
    return np.arange(len(store))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def damage(store, row):
    shard, offset, length = store.span(row)
    with (store.folder / "shards" / store.shards[shard]).open("r+b") as stream:
        stream.seek(offset + length // 2)
        stream.write(b"\0\1\2\3")


@pytest.mark.parametrize("policy", ["none", "standard", "affine-codec", "affine", "degrade"])
def test_items_have_the_shape_that_the_loop_takes(faces, policy):  # 001-30
    data = PictureSet(faces, everything(faces), FACE, TrainRecipe(augment=policy))
    item = data[0, 5]
    assert item["images"].shape == (1, 64, 64, 3)
    assert item["images"].dtype == torch.uint8
    assert item["fake"].tolist() == [float(faces.fake[5])]
    assert item["weight"].tolist() == [1.0]
    assert item["unreadable"].tolist() == [False]
    assert data.name(5) == faces.origin(5)


@pytest.mark.parametrize("policy", ["standard", "affine-codec", "degrade"])
def test_epoch_and_item_decide_a_sample_and_nothing_else(faces, policy):  # 001-23
    data = PictureSet(faces, everything(faces), FACE, TrainRecipe(augment=policy))
    copy = pickle.loads(pickle.dumps(data))
    for item in (6, 1, 3):
        assert same(data[2, item], copy[2, item])
    assert not torch.equal(data[2, 1]["images"], data[3, 1]["images"])
    other = PictureSet(faces, everything(faces), FACE, TrainRecipe(augment=policy, seed=7))
    assert not torch.equal(data[2, 1]["images"], other[2, 1]["images"])


def test_workers_do_not_change_a_sample(faces):  # 001-28
    data = PictureSet(faces, everything(faces), FACE, TrainRecipe(augment="affine-codec"))
    keys = [(1, int(item)) for item in data.order(1)]
    batches = [
        list(DataLoader(data, batch_sampler=[keys[:3], keys[3:8]], num_workers=workers)) for workers in (0, 1, 2)
    ]
    for other in batches[1:]:
        assert all(same(first, second) for first, second in zip(batches[0], other, strict=True))


def test_an_epoch_holds_every_item_once_in_an_order_of_its_own(tiny):
    data = PictureSet(tiny, everything(tiny), WHOLE, TrainRecipe())
    orders = [data.order(epoch) for epoch in range(3)]
    for order in orders:
        assert order.dtype == np.int64
        assert sorted(order.tolist()) == list(range(18))
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(data.order(1), orders[1])


def test_shuffling_is_bounded_and_mixes_the_classes():
    count = 40 * WINDOW * CHUNK // 10
    stratum = np.repeat(np.array([0, 1], np.int32), [count // 4 * 3, count // 4])  # one class after the other
    order = bounded_shuffle(stratum, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    per_window = WINDOW * CHUNK
    for first in range(0, count - per_window, per_window):
        part = order[first : first + per_window]
        assert len(np.unique(part // CHUNK)) <= 2 * WINDOW + 2, "a window reads few neighbourhoods"
        assert 0.2 < stratum[part].mean() < 0.3, "and holds each class in its share"
    assert np.abs(np.diff(order)).min() >= 1
    assert (np.diff(order[:per_window]) == 1).mean() < 0.01, "and is shuffled within"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3 * CHUNK + 2), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_any_number_of_items_is_shuffled_whole(count, strata, seed):
    rng = np.random.default_rng(seed)
    order = bounded_shuffle(rng.integers(0, strata, count).astype(np.int32), rng)
    assert sorted(order.tolist()) == list(range(count))


def test_the_sampler_repeats_the_smaller_class(tiny):
    data = PictureSet(tiny, everything(tiny), WHOLE, TrainRecipe(balance="sampler", augment="none"))
    assert len(data) == 24
    order = data.order(0)
    assert sorted(order.tolist()) == list(range(24))
    fake = np.array([float(data[0, item]["fake"]) for item in order])
    assert fake.mean() == 0.5
    names = [data.name(item) for item in order if data[0, item]["fake"] == 1]
    assert sorted(names.count(name) for name in set(names)) == [2] * 6


def test_the_loss_weighs_the_classes_alike(tiny):
    data = PictureSet(tiny, everything(tiny), WHOLE, TrainRecipe(balance="loss"))
    items = [data[0, item] for item in range(len(data))]
    total = [sum(float(item["weight"]) for item in items if float(item["fake"]) == fake) for fake in (0.0, 1.0)]
    assert len(data) == 18
    assert total == pytest.approx([9.0, 9.0])


def test_rows_that_are_not_given_are_not_used(tiny):
    rows = np.array([15, 2, 7])
    data = PictureSet(tiny, rows, WHOLE, TrainRecipe())
    assert [data.name(item) for item in range(3)] == [tiny.origin(row) for row in sorted(rows)]


def test_an_unreadable_row_is_black_and_counts_for_nothing(tiny):  # 001-26, resolution 14
    damage(tiny, 4)
    data = PictureSet(tiny, everything(tiny), WHOLE, TrainRecipe(balance="loss"))
    item = data[0, 4]
    assert not item["images"].any()
    assert item["images"].shape == (1, 8, 8, 3)
    assert item["weight"].tolist() == [0.0]
    assert item["unreadable"].tolist() == [True]
    assert data[0, 5]["unreadable"].tolist() == [False]
    with pytest.raises(InputError, match="is damaged"):
        StoreCrops(tiny, everything(tiny), WHOLE)[3:6]


def test_crops_vary_around_the_detectors_margin(faces):
    data = PictureSet(faces, everything(faces), FACE, TrainRecipe(augment="none"))
    fixed = prepare_crop(faces.read(0), faces.box(0), FACE).astype(int)
    differences = [np.abs(data[epoch, 0]["images"][0].numpy() - fixed).mean() for epoch in range(20)]
    assert min(differences) > 0
    assert max(differences) < 60


def test_overfitting_trains_on_what_is_validated(faces):  # 003-18
    recipe = TrainRecipe(augment="affine-codec", overfit=4)
    data = PictureSet(faces, everything(faces)[:4], FACE, recipe, overfit=True)
    crops = StoreCrops(faces, everything(faces)[:4], FACE)
    for item in range(4):
        np.testing.assert_array_equal(data[item, item]["images"].numpy(), crops[item : item + 1])


def test_validation_sees_exactly_the_host_half(faces):  # 001-4
    rows = np.array([5, 0, 3])
    crops = StoreCrops(faces, rows, FACE)
    wanted = np.stack([prepare_crop(faces.read(row), faces.box(row), FACE) for row in rows])
    assert len(crops) == 3
    np.testing.assert_array_equal(crops[:], wanted)
    np.testing.assert_array_equal(crops[1:], wanted[1:])
    np.testing.assert_array_equal(crops[np.array([2, 0])], wanted[[2, 0]])
    assert crops.fake.tolist() == faces.fake[rows].tolist()
    assert crops[3:].shape == (0, 64, 64, 3)


def test_what_cannot_be_trained_is_refused(tiny, faces):
    real = np.flatnonzero(tiny.fake == 0)
    for balance in ("sampler", "loss"):
        with pytest.raises(TrainingDataError, match="no fake samples"):
            PictureSet(tiny, real, WHOLE, TrainRecipe(balance=balance))
    with pytest.raises(TrainingDataError, match="training split is empty"):
        PictureSet(tiny, real[:0], WHOLE, TrainRecipe())
    wide = FACE.model_copy(update={"crop": FACE.crop.model_copy(update={"margin": 2.5})})
    with pytest.raises(TrainingDataError, match=r"reach 1\.7 times the face, but the detector wants 2\.5"):
        PictureSet(faces, everything(faces), wide, TrainRecipe())
    with pytest.raises(TrainingDataError, match="takes whole pictures"):
        StoreCrops(faces, everything(faces), WHOLE)
    with pytest.raises(TrainingDataError, match="without boxes, but the detector takes faces"):
        PictureSet(tiny, everything(tiny), FACE, TrainRecipe())


class Sequences(Dataset):
    """Two sequences out of order in which the level of a picture is its frame, and a single picture."""

    def __iter__(self):
        from PIL import Image

        self.root.mkdir(exist_ok=True)
        for video, frames in (("a", 10), ("b", 3), ("c", 1)):
            for frame in reversed(range(frames)):
                path = self.root / f"{video}{frame}.png"
                Image.fromarray(np.full((8, 8, 3), 20 * frame, np.uint8)).save(path)
                yield Sample(path, video == "b", "s", f"s/{video}", frame=frame)


@pytest.fixture
def sequences(tmp_path):
    return prepare(Sequences(tmp_path / "data"), tmp_path / "store", crop="whole", quality=None)


def clips_of(length, stride):
    return WHOLE.model_copy(update={"clip": Clip(length=length, stride=stride)})


def levels(clip):
    return (clip[:, 0, 0, 0] // 20).tolist()


def test_clips_are_frames_in_order_from_a_random_start(sequences):  # 003-6
    recipe = TrainRecipe(samples="clips", augment="none")
    data = ClipSet(sequences, everything(sequences), clips_of(4, 2), recipe)
    assert len(data) == 3
    item = data[0, 0]
    assert item["images"].shape == (1, 4, 8, 8, 3)
    assert item["fake"].shape == (1,)
    starts = set()
    for epoch in range(40):
        found = levels(data[epoch, 0]["images"][0])
        assert np.diff(found).tolist() == [2, 2, 2]
        starts.add(found[0])
    assert starts == {0, 1, 2, 3}
    assert levels(data[0, 1]["images"][0]) == [0, 2, 2, 2], "a shorter video repeats its last frame"
    assert data[0, 1]["fake"].tolist() == [1.0]
    assert levels(data[0, 2]["images"][0]) == [0, 0, 0, 0]
    assert sorted(data.order(0).tolist()) == [0, 1, 2]


def test_validation_takes_the_middle_of_each_video(sequences):
    spec = clips_of(3, 2)
    clips = StoreClips(sequences, everything(sequences), spec)
    assert len(clips) == 3
    assert clips[:].shape == (3, 3, 8, 8, 3)
    assert levels(clips[:1][0]) == [2, 4, 6]
    assert clips.fake.tolist() == [0.0, 1.0, 0.0]
    overfit = ClipSet(sequences, everything(sequences), spec, TrainRecipe(), overfit=True)
    np.testing.assert_array_equal(overfit[5, 0]["images"].numpy(), clips[:1])


class OneVideo(Dataset):
    def __iter__(self):
        yield Sample(self.root, False, "s", "s/a")


def test_frames_of_a_video_file_are_as_far_apart_as_the_detector_takes_them(tmp_path):  # 003-6
    (tmp_path / "a.mkv").write_bytes(video_bytes(grey_frames(60), format="matroska", rate=25))
    spec = clips_of(3, 4)
    dataset = OneVideo(tmp_path / "a.mkv")
    store = prepare(dataset, tmp_path / "store", crop="whole", quality=None, frames=6, clip=spec.clip)
    assert store.frames.tolist() == [10, 14, 18, 40, 44, 48]
    videos = Videos(store, everything(store), spec.clip)
    assert videos.starts(0).tolist() == [0, 3], "a clip does not reach over the gap to the next one"
    assert videos.clip(0, 3).tolist() == [3, 4, 5]
    item = ClipSet(store, everything(store), spec, TrainRecipe(samples="clips", augment="none"))[0, 0]
    assert item["images"].shape == (1, 3, 8, 8, 3)


def test_a_missing_frame_is_the_one_before_it_again(sequences):
    longest = sequences.videos[sequences.frames.argmax()]
    kept = np.flatnonzero((sequences.videos == longest) & (sequences.frames != 4))
    videos = Videos(sequences, kept, Clip(length=3, stride=2))
    assert sequences.frames[videos.clip(0, 0)].tolist() == [0, 2, 3]
    assert sequences.frames[videos.clip(0, 1)].tolist() == [1, 3, 5]
    without = np.flatnonzero((sequences.videos == longest) & ~np.isin(sequences.frames, (3, 4)))
    videos = Videos(sequences, without, Clip(length=3, stride=2))
    assert 0 not in videos.starts(0), "frame 2 would come twice"


def test_a_clip_with_an_unreadable_frame_counts_for_nothing(sequences):
    videos = Videos(sequences, everything(sequences), Clip(length=2, stride=1))
    damage(sequences, int(videos.clip(1, 0)[0]))
    data = ClipSet(sequences, everything(sequences), clips_of(3, 1), TrainRecipe())
    assert data[0, 1]["unreadable"].tolist() == [True]
    assert not data[0, 1]["images"].any()
    assert data[0, 0]["unreadable"].tolist() == [False]


def enlarge(store, times):
    """Make a store hold its rows many times over; its shards become many names of the same file."""
    import json

    folder = store.folder
    record = json.loads((folder / "store.json").read_text())
    (shard,) = record["shards"]
    for path in (folder / "index").glob("*.npy"):
        if not path.name.endswith("_ends.npy"):
            column = np.load(path)
            many = np.tile(column, (times,) + (1,) * (column.ndim - 1))
            np.save(
                path, np.repeat(np.arange(times, dtype=np.int32), len(column)) if path.name == "shard.npy" else many
            )
    record["shards"] = [{"file": f"{number:06d}.tar", "bytes": shard["bytes"]} for number in range(times)]
    for number in range(1, times):
        os.link(folder / "shards" / "000000.tar", folder / "shards" / f"{number:06d}.tar")
    record["rows"] *= times
    (folder / "store.json").write_text(json.dumps(record))
    return CropStore(folder)


def test_memory_does_not_grow_with_the_samples_that_were_read(tmp_path):  # 004-13
    write_tiny(tmp_path / "data", {"real": 1000, "fake": 1000})
    store = enlarge(prepare(ImageFolder(tmp_path / "data"), tmp_path / "store", crop="whole"), 100)
    shutil.rmtree(tmp_path / "data")
    assert len(store) == 200_000
    data = PictureSet(store, np.arange(len(store)), WHOLE, TrainRecipe(), overfit=True)  # the cheapest items
    order = data.order(0)

    def batches():
        for first in range(0, len(order), 500):
            yield [(0, int(item)) for item in order[first : first + 500]]

    this = psutil.Process()
    used = []
    seen = 0
    for number, batch in enumerate(DataLoader(data, batch_sampler=Batches(batches()), num_workers=2), 1):
        seen += len(batch["fake"])
        if number % 20 == 0 and 40 <= number <= 380:  # at the very end there are no workers any more
            used.append([process.memory_info().rss for process in (this, *this.children())])
    assert seen == 200_000
    table = np.array(used)
    assert table.shape == (18, 3)
    assert (table.max(0) < 1.05 * table[0]).all(), (table / 2**20).round(1)


class Batches(torch.utils.data.Sampler):
    """Batches of keys that are made as they are asked for."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return self.batches


def test_items_of_each_source_and_class_are_drawn_as_for_training_and_as_they_are(tiny):
    data = PictureSet(tiny, everything(tiny), WHOLE, TrainRecipe(augment="degrade"))
    found = list(data.draws(4))
    assert [(draw.source, draw.fake) for draw in found] == [("a", (0,))] * 4 + [("a", (1,))] * 4 + [("b", (1,))] * 2
    assert len({(draw.source, draw.fake, draw.groups) for draw in found}) == 10
    for draw, plain in zip(found, data.draws(4, plain=True), strict=True):
        assert draw.make().shape == plain.make().shape == (1, 8, 8, 3)
    np.testing.assert_array_equal(found[0].make(), found[0].make())
    row = int(np.flatnonzero((tiny.sources == 0) & (tiny.fake == 0))[0])
    np.testing.assert_array_equal(
        next(iter(data.draws(1, plain=True))).make()[0], prepare_crop(tiny.read(row), tiny.box(row), WHOLE)
    )

"""From labelled data to training and validation: whose splits hold, what leaks, how much is taken, and clips."""

import hashlib

import numpy as np
import pytest
import torch
from crop_stores import WHOLE, Listed, damage, write_tiny
from media import video_bytes
from mini_sets import overwrite
from PIL import Image
from tiny_run import RECIPE, Bright, run
from torch import nn

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.data.manifest import held_out_hashes
from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.labelled import labelled_training_data
from deepfake_core.training.data.stores import SplitIdentity
from deepfake_core.training.data.validation import validation_logits, validation_metrics
from deepfake_core.training.gather import test_samples as held_out_samples
from deepfake_registry.manifest import Clip

pytestmark = pytest.mark.torch


@pytest.fixture
def gathered(tmp_path):
    """Training data of a dataset for a detector of whole pictures; one cache for the whole test."""

    def gather(dataset, valid=None, detector=None, **settings):
        recipe = TrainRecipe(augment="none", **settings)
        return labelled_training_data(detector or Bright(), dataset, valid, recipe, tmp_path / "cache")

    return gather


def trained(training_data):
    return {training_data.training.name(item) for item in range(len(training_data.training))}


def listed(root, *facts):
    return Listed(root, [(f"{number}.png", {"group": f"g{number}", **more}) for number, more in enumerate(facts)])


@pytest.mark.parametrize(
    ("facts", "found"), [({"group": "g1"}, "groups: g1"), ({"identities": ("ben",)}, "persons: ben")]
)
def test_separate_validation_data_that_leak_are_named(tmp_path, gathered, facts, found):  # resolution 7
    data = listed(tmp_path / "data", {}, {"identities": ("ben",)})
    valid = Listed(tmp_path / "valid", [("a.png", facts), ("b.png", {})])
    with pytest.raises(TrainingDataError, match=f"training and validation share 1 {found}; .*dfbench data split"):
        gathered(data, valid)
    if "identities" in facts:
        shared = gathered(data, valid, allow_shared_identities=True)
        assert trained(shared) == {"0.png", "1.png"}
        assert shared.validation.names == ["a.png", "b.png"]


def test_every_row_of_a_group_says_who_is_shown(tmp_path, gathered):
    # The second picture of a group shows somebody that the first one does not.
    data = listed(tmp_path / "data", {"group": "g"}, {"group": "g", "identities": ("ben",)})
    with pytest.raises(TrainingDataError, match="share 1 persons: ben"):
        gathered(data, Listed(tmp_path / "valid", [("a.png", {"identities": ("ben",)}), ("b.png", {})]))


SPLITS = ("train", "train", "valid", "valid", "test", "test", "", "")


def test_the_datasets_own_splits_hold(tmp_path, gathered):  # 003-8
    training_data = gathered(listed(tmp_path / "data", *({"split": split} for split in SPLITS)))
    assert trained(training_data) == {"0.png", "1.png", "6.png", "7.png"}
    assert training_data.validation.names == ["2.png", "3.png"]
    assert training_data.counts == {("a", 0): 3, ("a", 1): 3}
    assert set(training_data.identity.groups()) == {"g0", "g1", "g2", "g3", "g6", "g7"}


def test_own_splits_that_share_a_person_are_refused(tmp_path, gathered):
    who = [{"split": split, "identities": ("ben",) if number in (1, 2) else ()} for number, split in enumerate(SPLITS)]
    data = listed(tmp_path / "data", *who)
    with pytest.raises(TrainingDataError, match=r"share 1 persons: ben; .*allow_shared_identities=true"):
        gathered(data)
    training_data = gathered(data, allow_shared_identities=True)
    with pytest.raises(TrainingDataError, match="testing and the rest share 1 groups: g2"):
        SplitIdentity.of([Sample(tmp_path, False, "a", "g2")]).check_disjoint(
            training_data.identity, "testing and the rest", TrainRecipe()
        )


def test_persons_are_held_out_whole_unless_they_may_be_shared(tmp_path, gathered):
    # Everybody is linked to everybody: nothing can be held out without showing somebody twice.
    chain = listed(tmp_path / "data", *({"identities": (f"p{n}", f"p{n + 1}")} for n in range(20)))
    assert len(gathered(chain).validation.fake) == 0
    shared = gathered(chain, allow_shared_identities=True, validation_share=0.2)
    assert 2 <= len(shared.validation.fake) <= 6
    assert not trained(shared) & set(shared.validation.names)


def test_a_share_of_the_data_is_whole_groups_of_every_class(tmp_path, gathered):  # 004-8
    facts = [{"group": f"g{number // 4}", "is_fake": number >= 40} for number in range(80)]
    data = Listed(tmp_path / "data", [(f"{number:02}.png", more) for number, more in enumerate(facts)])
    whole, half = gathered(data), gathered(data, data_share=0.5)
    assert half.validation.names == whole.validation.names
    assert trained(half) < trained(whole)
    assert len(trained(half)) == pytest.approx(len(trained(whole)) / 2, abs=4)
    kept = {name: int(name[:2]) // 4 for name in trained(half)}
    assert all(list(kept.values()).count(group) == 4 for group in kept.values())
    fakes = sum(group >= 10 for group in kept.values())
    assert fakes == pytest.approx(len(kept) / 2, abs=4)


def test_the_most_pictures_are_taken_of_a_finished_store_too(tmp_path, gathered):  # 004-7
    write_tiny(tmp_path / "data", {"real": 30, "fake": 10})
    data = ImageFolder(tmp_path / "data")
    training_data = gathered(data, max_images=20)
    assert sum(training_data.counts.values()) == training_data.files == 20
    assert training_data.counts == {("data", 0): 15, ("data", 1): 5}
    prepare(data, tmp_path / "store", crop="whole")
    stored = gathered(StoredCrops(tmp_path / "store"), max_images=20)
    assert sum(stored.counts.values()) == 20
    assert stored.files == 40


class Flat(Dataset):
    """Videos of grey frames: real ones are dark, fakes bright."""

    def __init__(self, root, videos=8, frames=6):
        super().__init__(root)
        self.videos, self.frames = videos, frames

    def __iter__(self):
        self.root.mkdir(exist_ok=True)
        for number in range(self.videos):
            path = self.root / f"{number}.mp4"
            if not path.exists():
                level = 40 + 150 * (number % 2) + number
                path.write_bytes(video_bytes([np.full((16, 16, 3), level, np.uint8)] * self.frames))
            yield Sample(path, number % 2 == 1, "s", f"s/{number}")


CLIPS = {"samples": "clips", "validation_share": 0.25}


def test_videos_are_taken_whole(tmp_path, gathered):
    prepare(Flat(tmp_path / "data"), tmp_path / "store", crop="whole")
    training_data = gathered(StoredCrops(tmp_path / "store"), detector=Clips(), **CLIPS, max_images=4)
    assert len(training_data.training) + len(training_data.validation.fake) == 4
    assert sum(training_data.counts.values()) == 4 * 6, "and no frame of theirs is left out"
    few = gathered(StoredCrops(tmp_path / "store"), detector=Clips(), **CLIPS, overfit=4)
    assert sorted(few.validation.fake.tolist()) == [0, 0, 1, 1]
    assert len(few.training) == 4
    assert sum(few.counts.values()) == 4 * 6, "each frame once"


@pytest.mark.parametrize("clips", [False, True])
def test_a_damaged_sample_among_those_held_out_is_left_out_and_named(tmp_path, gathered, clips):
    data = Flat(tmp_path / "data") if clips else listed(tmp_path / "data", *[{}] * 12)
    store = prepare(data, tmp_path / "store", crop="whole")
    how = {"detector": Clips(), **CLIPS} if clips else {"validation_share": 0.25}
    before = gathered(StoredCrops(store.folder), **how)
    name = before.validation.names[0]
    row = next(row for row in range(len(store)) if store.origin(row) == name)
    damage(store, row)
    found = gathered(StoredCrops(store.folder), **how)
    assert found.validation.names == before.validation.names[1:]
    assert len(found.validation.images[:]) == len(found.validation.fake)
    assert list(found.rejected) == [name]
    assert trained(found) == trained(before)
    assert sum(before.counts.values()) - sum(found.counts.values()) == (6 if clips else 1), "a clip needs all frames"


class ClipNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 3, 1)

    def forward(self, clips):
        return self.head(clips.mean((3, 4)).flatten(1)).squeeze(1)


class Clips(Detector):
    """Tells bright clips from dark ones."""

    preprocess = WHOLE.model_copy(update={"clip": Clip(length=3, stride=1)})

    def build(self):
        torch.manual_seed(0)
        return ClipNetwork()


def test_stores_are_found_again_by_the_names_that_they_had(tmp_path, gathered):
    root = (tmp_path / "data").resolve()
    gathered(Flat(root), detector=Clips(), **CLIPS)
    settings = (
        "{'crop': 'whole', 'margin': 1.7, 'side': 10, 'frames': 64, 'max_images': None, 'clip': Clip(length=3, skip=1)}"
    )
    key = hashlib.sha256(f"Flat {root} {settings}".encode()).hexdigest()
    assert [folder.name for folder in (tmp_path / "cache").iterdir() if folder.is_dir()] == [f"train-{key[:16]}"]


def test_clips_train_from_videos_to_metrics(tmp_path, gathered):  # 003-6
    detector = Clips()
    training_data = gathered(Flat(tmp_path / "data"), detector=detector, **CLIPS)
    training_data.check(TrainRecipe())
    assert training_data.validation.images[:1].shape == (1, 3, 8, 8, 3)
    recipe = RECIPE.model_copy(update={**CLIPS, "phases": (Phase(steps=20, lr=0.05),), "batch_size": 4, "ema": 0.0})
    progress, _ = run(
        tmp_path / "run",
        recipe,
        detector=detector,
        data=training_data.training,
        check=lambda model: validation_metrics(
            validation_logits(model, training_data.validation.images), training_data.validation
        ),
    )
    assert progress.best["auc"] == 1.0
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


def test_unreadable_files_beyond_the_limit_are_named(tmp_path, gathered):  # 001-26
    write_tiny(tmp_path / "data", {"real": 20, "fake": 20})
    torn = tmp_path / "data" / "real" / "torn.png"
    torn.write_bytes((tmp_path / "data" / "real" / "00000.png").read_bytes()[:40])
    data = ImageFolder(tmp_path / "data")
    training_data = gathered(data)
    with pytest.raises(
        TrainingDataError, match=r"1 of 41 files cannot be read.*max_bad=0\.01 .*real/torn\.png.*max_bad"
    ):
        training_data.check(TrainRecipe(max_bad=0.01))
    training_data.check(TrainRecipe(max_bad=0.03))
    # The share is one of all files, not of the few that are used.
    gathered(data, overfit=4).check(TrainRecipe(max_bad=0.03))


def test_one_cache_serves_other_settings_and_other_data(tmp_path, gathered):  # 001-31
    class Larger(Bright):
        preprocess = WHOLE.model_copy(update={"resize": WHOLE.resize.model_copy(update={"height": 16, "width": 16})})

    write_tiny(tmp_path / "data", {"real": 4, "fake": 4})
    write_tiny(tmp_path / "other", {"real": 3, "fake": 3})
    first = gathered(ImageFolder(tmp_path / "data"))
    assert gathered(ImageFolder(tmp_path / "data"), detector=Larger()).validation.images.spec.size == (16, 16)
    assert gathered(ImageFolder(tmp_path / "other")).files == 6
    (tmp_path / "data" / "real" / "00000.png").touch()
    again = gathered(ImageFolder(tmp_path / "data"))
    assert again.training.store.folder == first.training.store.folder
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "data" / "real" / "new.png")
    with pytest.raises(TrainingDataError, match="dataset has changed since"):
        gathered(ImageFolder(tmp_path / "data"))


def test_crops_of_a_store_are_not_read_again_for_the_hash_of_the_data(tmp_path, gathered):
    data = write_tiny(tmp_path / "data", {"real": 4, "fake": 4})
    prepare(ImageFolder(data), tmp_path / "store", crop="whole")
    store = StoredCrops(tmp_path / "store")
    expected = held_out_hashes(store)
    known = gathered(store).hashes
    assert known is not None
    assert not known.is_relative_to(tmp_path / "store")
    assert held_out_hashes(store, known) == expected
    for shard in (tmp_path / "store" / "shards").iterdir():
        overwrite(shard)
    assert held_out_hashes(store, known) == expected != held_out_hashes(store)


def test_a_start_lists_the_data_twice_and_reads_no_picture_of_a_finished_store(tmp_path, gathered):
    class Counted(ImageFolder):
        passes = reads = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

        def read(self, sample):
            self.reads += 1
            return super().read(sample)

    data = Counted(write_tiny(tmp_path / "data", {"real": 4, "fake": 4}))
    for reads in (8, 0):
        data.passes = data.reads = 0
        gathered(data)
        held_out_samples(data, None)
        assert (data.passes, data.reads) == (2, reads)


def sources_of(training_data):
    return {source for source, _ in training_data.counts}


def test_sources_that_are_left_out_neither_train_nor_validate(tmp_path, gathered):
    data = listed(tmp_path / "data", *({"source": "abc"[number // 4]} for number in range(12)))
    whole, part = gathered(data), gathered(data, leave_out=("b",))
    assert sources_of(whole) == {"a", "b", "c"}
    assert sources_of(part) == {"a", "c"}
    left = {f"{number}.png" for number in range(4, 8)}
    assert trained(part) == trained(whole) - left
    assert set(part.validation.names) == set(whole.validation.names) - left
    assert part.fingerprint != whole.fingerprint
    apart = gathered(data, listed(tmp_path / "valid", {"source": "v", "group": "x"}, {"source": "b", "group": "y"}),
                     leave_out=("b",))  # fmt: skip
    assert apart.validation.names == ["0.png"]
    with pytest.raises(TrainingDataError, match="leave_out: the data have no source x, y; there are: a, b, c"):
        gathered(data, leave_out=("a", "x", "y"))
    with pytest.raises(TrainingDataError, match="leave_out names all of its sources"):
        gathered(data, leave_out=("a", "b", "c"))

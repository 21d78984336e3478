"""What a run on pairs is given: which faces are taken, what is kept, and what is refused before anything is made."""

import pickle

import numpy as np
import pytest
import torch
from crop_stores import FACE, Listed, damage
from drawn_faces import DrawnFaces
from mini_sets import overwrite
from PIL import Image

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import LabelledKind, Pairs, PseudoFakes, TrainRecipe
from deepfake_core.data.crops.pack import pack
from deepfake_core.data.crops.prepare import prepare as prepared_store
from deepfake_core.data.manifest import held_out_hashes
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import MissingExtra, TrainingDataError
from deepfake_core.training.checks import check_installed
from deepfake_core.training.data.validation import validation_metrics
from deepfake_core.training.gather import gather
from deepfake_core.training.pairs import pairs as pairs_module
from deepfake_core.training.pairs import reconstruct
from deepfake_core.training.pairs.faces import Faces
from deepfake_core.training.pairs.prepare import _per_source

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
PAIRS = TrainRecipe(samples="pairs", pairs=Pairs(pseudo=PseudoFakes(reconstruct=0.0), validation=2), batch_size=4)


class OfFaces(Detector):
    preprocess = FACE

    def build(self):
        raise AssertionError("nothing is built here")


@pytest.fixture
def gathered(tmp_path, same_face):
    """Training data of pairs; one cache for the whole test."""

    def of(dataset, valid=None, **settings):
        recipe = PAIRS.model_copy(update=settings)
        return gather(OfFaces(), dataset, valid, recipe, tmp_path / "cache", CPU)

    return of


def listed(tmp_path, count, facts=lambda number: {}):
    """Flat pictures, every second one a fake; their levels are their numbers from 1 on."""
    names = [(f"{number:02}.png", {"group": f"g{number:02}", **facts(number)}) for number in range(count)]
    for number, (name, _) in enumerate(names):
        (tmp_path / "data").mkdir(exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), number + 1, np.uint8)).save(tmp_path / "data" / name)
    return Listed(tmp_path / "data", names)


def trained(training_data):
    source = training_data.training.planner.source
    return [source.faces.store.origin(int(row)) for row in source.rows]


def validated(training_data):
    return [name for name in training_data.validation.names if name.endswith(".png")]


def test_a_share_of_the_faces_validates_on_the_same_ones(tmp_path, gathered, same_face):
    dataset = listed(tmp_path, 60)
    pairs = PAIRS.pairs.model_copy(update={"validation": 60})
    whole = gathered(dataset, pairs=pairs)
    assert len(same_face) == 60
    half = gathered(dataset, pairs=pairs, data_share=0.5)
    assert len(same_face) == 60, "the landmarks were found before"
    assert validated(whole) == validated(half)
    assert not set(validated(whole)) & set(trained(whole))
    assert set(trained(half)) < set(trained(whole))
    assert len(trained(half)) == pytest.approx(len(trained(whole)) / 2, abs=1)
    assert half.counts == {("a", 0): 30 - 13, ("a", 1): 30 - 13} or sum(half.counts.values()) < 60


def test_own_validation_samples_validate(tmp_path, gathered):
    splits = ["train"] * 14 + ["test"] * 2 + ["valid"] * 4
    found = gathered(listed(tmp_path, 20, lambda number: {"split": splits[number]}), pairs=PAIRS.pairs)
    assert trained(found) == [f"{number:02}.png" for number in range(14)]
    assert validated(found) == [f"{number:02}.png" for number in range(16, 20)]
    assert found.files == 20


def test_the_most_pictures_are_spread_over_the_dataset(tmp_path, gathered):  # 004-7
    dataset = listed(tmp_path, 40, lambda number: {"is_fake": number % 3 == 0})
    found = gathered(dataset, max_images=10, validation_share=0.3)
    store = found.training.planner.source.faces.store
    assert [store.origin(row) for row in range(len(store))] == [f"{number:02}.png" for number in range(3, 40, 4)]


def test_what_pairs_cannot_do_is_said_before_faces_are_looked_for(tmp_path, gathered, same_face):
    leaking = listed(tmp_path, 6, lambda number: {"split": "valid" if number > 3 else "", "identities": ("ben",)})
    with pytest.raises(TrainingDataError, match="training and validation share 1 persons: ben"):
        gathered(leaking)
    with pytest.raises(TrainingDataError, match="every pair anew; overfit a few of samples='pictures'"):
        gathered(leaking, overfit=4)
    with pytest.raises(TrainingDataError, match="leave out --valid"):
        gathered(leaking, leaking)
    assert not same_face
    assert not (tmp_path / "cache").exists()


def test_the_face_mesh_is_asked_for_where_landmarks_have_to_be_found(tmp_path, gathered, monkeypatch):
    dataset = listed(tmp_path, 8)
    store = prepared_store(dataset, tmp_path / "store")

    def missing():
        raise MissingExtra("finding face landmarks", "deepfake-core[blend]")

    monkeypatch.setattr("deepfake_core.data.crops.face_mesh.model_file", missing)
    with pytest.raises(MissingExtra, match="blend"):
        check_installed(OfFaces(), PAIRS, (), (dataset,))
    given = StoredCrops(store.folder)
    for refused in (lambda: check_installed(OfFaces(), PAIRS, (), (given,)), lambda: gathered(given)):
        with pytest.raises(TrainingDataError, match=r"store: has no face landmarks.*--landmarks"):
            refused()
    packed = StoredCrops(pack(store, tmp_path / "faces.pack").folder)
    with pytest.raises(TrainingDataError, match=r"pack: has no .*pack that again: .* crops:STORE --landmarks"):
        gathered(packed)
    found = gathered(dataset)
    kept = StoredCrops(found.training.planner.source.faces.store.folder)
    check_installed(OfFaces(), PAIRS, (), (kept,))
    assert trained(gathered(kept)) == trained(found)


def test_files_that_were_left_out_are_named_with_the_reason(tmp_path, gathered, monkeypatch):
    dataset = listed(tmp_path, 12)
    (tmp_path / "data" / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "data" / "03.png")
    usable = Faces.usable.func
    monkeypatch.setattr(Faces, "usable", property(lambda faces: usable(faces) & (np.arange(len(faces)) != 2)))
    found = gathered(dataset)
    assert found.rejected.keys() == {"02.png", "03.png", "04.png"}
    assert found.rejected["03.png"] == "no face found"
    assert found.rejected["04.png"] == "no plausible face landmarks"
    assert sum(found.counts.values()) == 9
    assert found.first_names == trained(found)[:10]


def test_data_without_a_real_face_are_refused_by_name(tmp_path, gathered):
    dataset = listed(tmp_path, 8)
    for number in range(0, 8, 2):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "data" / f"{number:02}.png")
    with pytest.raises(TrainingDataError, match=r"data: holds no real face with landmarks.*rejected\.csv"):
        gathered(dataset)


def test_hashes_of_held_out_files_are_kept_with_the_faces(tmp_path, gathered):
    dataset = listed(tmp_path, 8)
    expected = held_out_hashes(dataset)
    found = gathered(dataset)
    for path in (tmp_path / "data").iterdir():
        overwrite(path)
    assert held_out_hashes(dataset, found.hashes) == expected


def test_validation_pairs_are_the_same_for_any_number_of_threads_and_on_a_device(tmp_path, gathered, monkeypatch):
    dataset = listed(tmp_path, 24)
    made = []
    for threads, place in ((1, "host"), (3, "host"), (1, "device")):
        monkeypatch.setattr(pairs_module, "allowed_threads", lambda threads=threads: threads)
        found = gathered(dataset, augment_on=place, validation_share=0.3)
        made.append(found.validation)
        assert (found.make_feed is None) == (place == "host")
    for other in made[1:]:
        np.testing.assert_array_equal(made[0].images, other.images)
        assert made[0].names == other.names
    assert set(made[0].family) == {"a", "self_blend"}
    assert len(made[0].fake) == len(made[0].images) == 4 + 4


def test_a_damaged_crop_counts_for_nothing(tmp_path, gathered):  # 001-26
    found = gathered(listed(tmp_path, 12))
    store = found.training.planner.source.faces.store
    assert found.training[0, 0]["weight"].tolist() == [1, 1]
    (shard,) = (store.folder / "shards").iterdir()
    shard.write_bytes(bytes(shard.stat().st_size))
    item = found.training[0, 0]
    assert item["unreadable"].tolist() == [True, True]
    assert item["weight"].tolist() == [0, 0]
    assert item["images"].shape == (2, 64, 64, 3)


def test_a_damaged_face_among_those_held_out_is_left_out_and_named(tmp_path, gathered):
    dataset = listed(tmp_path, 40)
    whole = gathered(dataset, validation_share=0.3)
    store = whole.training.planner.source.faces.store
    name = validated(whole)[0]
    row = next(row for row in range(len(store)) if store.origin(row) == name)
    damage(store, row)
    found = gathered(dataset, validation_share=0.3)
    assert name not in validated(found)
    assert list(found.rejected) == [name]
    assert "is damaged" in found.rejected[name]
    assert sum(found.counts.values()) == sum(whole.counts.values()) - 1
    assert trained(found) == trained(whole)


def test_fakes_without_real_faces_are_drawn_and_judged_beside_those_of_their_kind(tmp_path, gathered, caplog):
    """The sources: ``a`` has both classes, ``r`` real faces and ``f`` fakes only."""
    dataset = listed(tmp_path, 60, lambda number: {"source": "a" if number < 20 else "rf"[number % 2]})
    kinds = (LabelledKind(name="generated", sources=("f",), beside=("r",)),)
    pairs = PAIRS.pairs.model_copy(update={"validation": 8})
    caplog.set_level("INFO")
    alone = gathered(dataset, pairs=pairs)
    assert "are left out: f (" in caplog.text
    found = gathered(dataset, pairs=pairs.model_copy(update={"kinds": kinds}))
    assert "labelled fakes of generated: " in caplog.text
    logit = np.random.default_rng(0).normal(size=len(found.validation.fake))
    columns = [
        {name for name in validation_metrics(logit, data.validation) if name.startswith("auc_")}
        for data in (alone, found)
    ]
    assert columns[0] == {"auc_mean", "auc_a", "auc_self_blend"}
    assert columns[1] - columns[0] == {"auc_f"}
    assert alone.fingerprint == found.fingerprint, "the same samples validate"
    with pytest.raises(
        TrainingDataError, match=r"pairs\.kinds\.0\.beside: the data have no source x; there are: a, f, r"
    ):
        gathered(dataset, pairs=pairs.model_copy(update={"kinds": (kinds[0].model_copy(update={"beside": ("x",)}),)}))


def test_faces_of_a_source_are_spread_evenly_over_those_held_out():
    faces = DrawnFaces(30)
    faces.sources[:], faces.fake[:] = 0, 0
    rows = np.arange(30)
    assert _per_source(faces, rows, 20).tolist() == [place * 30 // 20 for place in range(20)]
    assert _per_source(faces, rows, 40).tolist() == rows.tolist()


def test_a_set_of_pairs_can_be_sent_to_other_processes(tmp_path, gathered):
    training = gathered(listed(tmp_path, 12)).training
    again = pickle.loads(pickle.dumps(training))
    torch.testing.assert_close(again[1, 2]["images"], training[1, 2]["images"])


def test_two_tables_in_one_folder_have_stores_of_their_own(tmp_path, gathered):
    listed(tmp_path, 12)
    stores = set()
    for name in ("x", "y"):
        for label, numbers in (("real", range(6)), ("fake", range(6, 12))):
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for number in numbers:
                (tmp_path / "data" / f"{number:02}.png").rename(folder / f"{number}.png")
        stores.add(gathered(ImageFolder(tmp_path / name)).training.planner.source.faces.store.folder)
        for path in (tmp_path / name).rglob("*.png"):
            path.rename(tmp_path / "data" / f"{int(path.stem):02}.png")
    assert len(stores) == 2


def test_the_content_is_that_of_the_store(tmp_path, gathered):
    dataset = listed(tmp_path, 12)
    first, again = gathered(dataset), gathered(dataset)
    assert first.content == again.content
    Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save(tmp_path / "data" / "00.png")
    assert gathered(dataset).content != first.content


def test_runs_that_leave_out_a_source_share_the_autoencoders_and_what_they_made(tmp_path, same_face, monkeypatch):
    monkeypatch.setattr(
        reconstruct, "train_autoencoder", lambda spec, *_all, **_settings: reconstruct.Autoencoder(spec)
    )
    monkeypatch.setattr(reconstruct, "reconstruct", lambda _model, batch, _device: batch)
    pseudo = PseudoFakes(self_blend=0.5, composite=0.0, reconstruct=0.5, labelled=0.0)
    pairs = Pairs(pseudo=pseudo, validation=4, autoencoders=2, autoencoder_steps=1)
    dataset = listed(tmp_path, 16, lambda number: {"is_fake": False, "source": "ab"[number % 2]})
    cache = tmp_path / "cache"
    made = []
    for left_out in ((), ("a",)):
        recipe = PAIRS.model_copy(update={"pairs": pairs, "leave_out": left_out, "validation_share": 0.5})
        source = gather(OfFaces(), dataset, None, recipe, cache, CPU).training.planner.source
        used = {source.faces.source_names[code] for code in source.faces.sources[source.rows]}
        assert used == {"a", "b"} - set(left_out), "the planner takes none of them"
        made.append(sorted(path.name for path in cache.glob("*") if path.suffix in (".safetensors", ".npy")))
    assert len(made[0]) == 4, "two autoencoders; what the one made to train on, and the other to validate"
    assert made[0] == made[1]


@pytest.mark.parametrize("match", ["none", "shortcuts"])
def test_faces_are_measured_where_pairs_are_to_agree(gathered, tmp_path, match):
    pairs = PAIRS.pairs.model_copy(update={"match": match})
    data = gathered(listed(tmp_path, 12), pairs=pairs, validation_share=0.3)
    source = data.training.planner.source
    assert (source.agreement is not None) == (match != "none")
    assert bool(list((tmp_path / "cache").glob("numbers-*.npy"))) == (match != "none")
    assert data.training.planner.plain().source.agreement is None

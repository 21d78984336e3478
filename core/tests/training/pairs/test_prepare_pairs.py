"""What pairs are made from: which pictures are taken, and what is refused before faces are looked for."""

import numpy as np
import pytest
import torch
from crop_stores import FACE, Listed

from deepfake_core.contract.detector import Detector
from deepfake_core.contract.recipe import Pairs, PseudoFakes, TrainRecipe
from deepfake_core.errors import TrainingDataError
from deepfake_core.training import gather as gather_module
from deepfake_core.training.pairs import maker, prepare
from deepfake_core.training.pairs.face_table import FaceTable

pytestmark = pytest.mark.torch

PAIRS = TrainRecipe(samples="pairs", pairs=Pairs(pseudo=PseudoFakes(reconstruct=0.0)))


class Faces(Detector):
    preprocess = FACE

    def build(self):
        raise AssertionError("nothing is built here")


@pytest.fixture
def found(monkeypatch):
    """Every sample has a face, and no picture is opened; gives the lists of samples that faces were looked for in."""
    asked = []

    def find(samples, dataset, hashes):
        asked.append(list(samples))
        groups = np.array([sample.group for sample in samples])
        return FaceTable(
            paths=np.array([sample.path.name for sample in samples]),
            fake=np.array([sample.is_fake for sample in samples], np.int8),
            sources=np.array([sample.source for sample in samples]),
            groups=groups,
            families=groups,
            boxes=np.zeros((len(groups), 4), np.float32),
            points=np.zeros((len(groups), 3, 2), np.float32),
        )

    monkeypatch.setattr(prepare, "find_faces", find)
    monkeypatch.setattr(prepare, "load_crops", lambda table, *_: np.zeros((len(table), 8, 8, 3), np.uint8))
    return asked


def data(tmp_path, count, facts=lambda number: {}):
    return Listed(tmp_path / "data", [(f"{number:02}.png", facts(number)) for number in range(count)])


def sources(dataset, tmp_path, **settings):
    recipe = PAIRS.model_copy(update=settings)
    table_file = prepare._table_file(list(dataset), tmp_path / "cache")
    return prepare._pair_sources(dataset, list(dataset), table_file, recipe, torch.device("cpu"))


def test_a_share_of_the_faces_validates_on_the_same_ones(tmp_path, found):
    dataset = data(tmp_path, 60)
    _, whole, held = sources(dataset, tmp_path)
    _, half, same = sources(dataset, tmp_path, data_share=0.5)
    assert same.rows.tolist() == held.rows.tolist()
    assert set(half.rows) < set(whole.rows)
    assert len(half.rows) == pytest.approx(len(whole.rows) / 2, abs=1)
    assert len(found) == 1, "the faces were found before"


def test_own_validation_samples_validate(tmp_path, found):
    dataset = data(tmp_path, 20, lambda number: {"split": "valid" if number >= 16 else "train"})
    _, training, held = sources(dataset, tmp_path)
    assert training.rows.tolist() == list(range(16))
    assert held.rows.tolist() == list(range(16, 20))


def gather(dataset, tmp_path, **settings):
    recipe = PAIRS.model_copy(update=settings)
    return gather_module.gather(Faces(), dataset, None, recipe, tmp_path / "cache", torch.device("cpu"))


def test_the_most_pictures_are_spread_over_the_dataset(tmp_path, monkeypatch):  # 004-7
    class Enough(Exception):
        pass

    def find(samples, dataset, hashes):
        assert [sample.path.name for sample in samples] == [f"{number:02}.png" for number in range(3, 40, 4)]
        raise Enough

    monkeypatch.setattr(prepare, "find_faces", find)
    with pytest.raises(Enough):
        gather(data(tmp_path, 40), tmp_path, max_images=10)


def test_what_pairs_cannot_do_is_said_before_faces_are_looked_for(tmp_path, found):
    leaking = data(tmp_path, 6, lambda number: {"split": "valid" if number > 3 else "", "identities": ("ben",)})
    with pytest.raises(TrainingDataError, match="training and validation share 1 persons: ben"):
        gather(leaking, tmp_path)
    with pytest.raises(TrainingDataError, match="every pair anew; overfit a few of samples='pictures'"):
        gather(data(tmp_path, 6), tmp_path, overfit=4)
    with pytest.raises(TrainingDataError, match="leave out --valid"):
        gather_module.gather(Faces(), leaking, leaking, PAIRS, tmp_path, torch.device("cpu"))
    assert not found


def test_similar_shapes_are_the_most_similar_ones_and_no_face_is_its_own_neighbour():
    points = np.random.default_rng(0).normal(size=(60, 5, 2)).astype(np.float32)
    flat = (points - points.mean(1, keepdims=True)).reshape(60, -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    similarity = flat @ flat.T
    np.fill_diagonal(similarity, -np.inf)
    wanted = np.argsort(-similarity, axis=1)[:, :7]
    np.testing.assert_array_equal(np.sort(maker._similar_shapes(points, 7)), np.sort(wanted))


def test_the_number_of_compared_shapes_grows_with_the_number_of_faces(monkeypatch):
    compared = []
    argpartition = np.argpartition
    monkeypatch.setattr(np, "argpartition", lambda values, k: compared.append(values.size) or argpartition(values, k))
    counts = []
    for size in (1000, 4000):
        compared.clear()
        points = np.random.default_rng(0).normal(size=(size, 4, 2)).astype(np.float32)
        nearest = maker._similar_shapes(points, 10, most=200)
        assert nearest.shape == (size, 10)
        assert not (nearest == np.arange(size)[:, None]).any()
        counts.append(sum(compared))
    assert counts[1] == 4 * counts[0]

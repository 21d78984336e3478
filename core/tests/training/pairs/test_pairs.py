"""The training set of pairs: seed and number decide an item, and early items may be small."""

from __future__ import annotations

import numpy as np
import torch
from drawn_faces import DrawnFaces

from deepfake_core.contract.recipe import Pairs, Phase, TrainRecipe
from deepfake_core.training.pairs.pairs import PairDataset
from deepfake_core.training.pairs.planner import EQUAL, PairSource, Planner


def pairs(seed=0, **settings):
    faces = DrawnFaces(side=96)
    planner = Planner(PairSource(faces, np.arange(len(faces))), EQUAL, size=64, margin=1.3, cells=4)
    recipe = TrainRecipe(
        phases=(Phase(epochs=2, lr=1e-3),), samples="pairs", batch_size=24, seed=seed, pairs=Pairs(**settings)
    )
    return PairDataset(planner, recipe)


def test_seed_and_number_decide_an_item():
    one, other, third = pairs(), pairs(), pairs(seed=1)
    assert len(one) == 48  # 40 real faces in whole batches of 12 pairs
    for key in ((0, 3), (1, 3)):
        for name, value in one[key].items():
            torch.testing.assert_close(value, other[key][name], equal_nan=True, rtol=0, atol=0)
        assert not torch.equal(one[key]["images"], third[key]["images"])
    assert not torch.equal(one[0, 3]["images"], one[1, 3]["images"])


def test_an_item_is_a_real_face_and_its_fake():
    item = pairs()[0, 0]
    assert item["images"].shape == (2, 64, 64, 3)
    assert item["images"].dtype == torch.uint8
    assert item["fake"].tolist() == [0, 1]
    assert item["mask"].shape == (2, 4, 4)
    assert not item["mask"][0].any()


def test_early_items_are_small():
    data = pairs(small_until=0.5, small_size=32)
    sizes = [data[0, item]["images"].shape[1] for item in (0, 47)] + [data[1, 0]["images"].shape[1]]
    assert sizes == [32, 32, 64]
    assert data[0, 0]["mask"].shape == (2, 2, 2)
    data.grow((0, 47))
    assert data[0, 46]["images"].shape[1] == 32
    assert data[0, 47]["images"].shape[1] == 64

"""What labelled pairs agree in: measured once, kept, and equal in both classes over many draws."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_faces import DrawnFaces

from deepfake_core.contract.recipe import Pairs
from deepfake_core.data.audit.features import NAMES
from deepfake_core.evaluation.metrics import roc_auc
from deepfake_core.training.pairs.agreement import Agreement, Measured
from deepfake_core.training.pairs.labelled import Labelled

pytestmark = pytest.mark.torch

COUNT = 600
LIGHT, SHARP, SHARPER = (NAMES.index(name) for name in ("brightness", "sharpness_1", "sharpness_2"))


class Table:
    """Numbers of faces of which every third one is a fake: fakes are sharper and brighter."""

    def __init__(self) -> None:
        self.fake = np.arange(COUNT) % 3 == 2
        self.table = np.random.default_rng(0).normal(size=(COUNT, len(NAMES))).astype(np.float32)
        self.table[self.fake, LIGHT] += 1
        self.table[self.fake, SHARP] += 1
        self.table[self.fake, SHARPER] += 1

    def __call__(self, rows):
        return self.table[rows]


def drawn(match):
    """AUCs of the numbers in pairs that are drawn."""
    faces, table = DrawnFaces(COUNT, side=16), Table()
    faces.sources = np.zeros(COUNT, np.int32)
    agreement = Agreement(match, faces.families, table) if match else None
    found = Labelled(faces, np.flatnonzero(~table.fake), np.flatnonzero(table.fake), Pairs(), agreement)
    real, fake = found.draw(np.random.default_rng(1), 4000)
    assert (faces.fake[real] == 0).all()
    assert (faces.fake[fake] == 1).all()
    lines = [line for line in found.described(1.0, None) if "matched" in line]
    assert bool(lines) == bool(match)
    values = table.table[np.concatenate([fake, real])]
    label = np.repeat([1, 0], 4000)
    found = {name: roc_auc(label, values[:, place]) for place, name in enumerate(NAMES)}
    return found | {"sharpness": roc_auc(label, values[:, SHARP] + values[:, SHARPER])}


def test_pairs_agree_in_sharpness_alone_or_in_all_numbers():
    plain, sharp, every = drawn(None), drawn("sharpness"), drawn("shortcuts")
    assert min(plain["brightness"], plain["sharpness"]) > 0.7
    assert abs(sharp["sharpness"] - 0.5) < 0.03
    assert sharp["brightness"] > 0.7
    assert max(abs(value - 0.5) for value in every.values()) < 0.5 * (plain["sharpness"] - 0.5)


def test_a_class_with_few_families_agrees_in_sharpness():
    table = Table()
    few = Agreement("shortcuts", (np.arange(COUNT) % 3).astype(np.int32), table)
    real, fake = np.flatnonzero(~table.fake), np.flatnonzero(table.fake)
    of_fakes, of_reals = few(fake, real)
    np.testing.assert_array_equal(of_fakes, table.table[fake][:, [SHARP, SHARPER]].mean(1))
    assert len(of_reals) == len(real)


def test_faces_are_measured_once_and_kept(tmp_path):
    faces = DrawnFaces(12, side=32, damaged=(3,))
    faces.store = SimpleNamespace(fingerprint="a store")
    measured = Measured(faces, 16, 1.3, tmp_path / "cache")
    found = measured(np.array([5, 3, 1]))
    assert found.shape == (3, len(NAMES))
    assert np.isnan(found[1]).all(), "a damaged face has no numbers"
    assert np.isfinite(found[[0, 2]]).all()
    reads = list(faces.reads)
    again = Measured(faces, 16, 1.3, tmp_path / "cache")(np.array([1, 5, 7]))
    np.testing.assert_array_equal(again[:2], found[[2, 0]])
    assert faces.reads == [*reads, 7]
    assert Measured(faces, 24, 1.3, tmp_path / "cache").file != measured.file
    measured.file.write_bytes(b"nothing")
    np.testing.assert_array_equal(measured(np.array([5]))[0], found[0])
    assert pickle.loads(pickle.dumps(Agreement("sharpness", faces.families, Table()))).match == "sharpness"

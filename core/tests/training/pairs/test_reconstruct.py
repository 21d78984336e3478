"""Autoencoders are trained once for what they are trained on, and some are for validation only."""

import pickle

import numpy as np
import pytest
import torch
from crop_stores import draw_landmarks, face_store

from deepfake_core.contract.recipe import Pairs
from deepfake_core.training.pairs import reconstruct
from deepfake_core.training.pairs.autoencoder import Autoencoder, train_autoencoder
from deepfake_core.training.pairs.faces import Faces
from deepfake_core.training.pairs.reconstruct import DECODERS, Autoencoders, training_decoders, validation_decoders

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return Faces(draw_landmarks(face_store(tmp_path_factory.mktemp("faces"), side=64)), 64)


@pytest.fixture
def trained(monkeypatch):
    """What autoencoders were trained, which takes no time."""
    found = []

    def train(spec, pixels, **settings):
        found.append((spec, len(pixels), settings["seed"]))
        return Autoencoder(spec).eval()

    monkeypatch.setattr(reconstruct, "train_autoencoder", train)
    return found


def load(faces, rows, folder, **settings):
    settings = {"count": 2, "steps": 1, "device": CPU, "seed": 5, **settings}
    return Autoencoders.load(faces, np.array(rows), folder, **settings)


def test_the_last_autoencoders_are_for_validation_only():
    counts = {count: (training_decoders(count), validation_decoders(count)) for count in range(2, len(DECODERS) + 1)}
    for count, (trained, kept) in counts.items():
        assert trained + kept == tuple(range(count))
        assert trained
    assert counts[2][1] == (1,)
    assert counts[Pairs().autoencoders][1] == (2,)
    assert counts[8][1] == (6, 7)
    assert len(set(DECODERS)) == 8
    assert {spec.upsampling for spec in DECODERS} == {"nearest", "transposed", "shuffle", "bilinear"}


def test_autoencoders_are_trained_once(faces, trained, tmp_path):
    first = load(faces, [3, 4], tmp_path)
    assert trained == [(DECODERS[0], 2, 5), (DECODERS[1], 2, 6)]
    again = load(faces, [4, 3], tmp_path)
    assert len(trained) == 2
    assert again.keys == first.keys
    for one, other in zip(first.models, again.models, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict())
    load(faces, [3, 4], tmp_path, count=3)
    assert len(trained) == 3, "only the third is new"
    for other in ({"rows": [3, 5]}, {"steps": 2}, {"seed": 9}):
        load(faces, other.pop("rows", [3, 4]), tmp_path, **other)
    assert len(trained) == 9


def test_reconstructions_are_of_the_faces_that_they_are_asked_for(faces, trained, tmp_path):
    autoencoders = load(faces, [3, 4], tmp_path)
    found = autoencoders.reconstructions(faces, np.array([5, 3, 4]), (1,), tmp_path, most=2)
    assert found.rows.tolist() == [3, 4]
    for row in (3, 4):
        wanted = reconstruct.reconstruct(autoencoders.models[1], faces.pixels(row)[None], CPU)[0]
        assert np.abs(found(row, 1).astype(int) - wanted).max() <= 1
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again(4, 1), found(4, 1))
    (file,) = tmp_path.glob("reconstructed-*.npy")
    written = file.stat().st_mtime_ns
    autoencoders.reconstructions(faces, np.array([3, 4, 5]), (1,), tmp_path, most=2)
    assert file.stat().st_mtime_ns == written
    assert len(autoencoders.reconstructions(faces, np.empty(0, np.intp), (1,), tmp_path, most=2).rows) == 0


@pytest.mark.parametrize("spec", DECODERS, ids=str)
def test_every_autoencoder_keeps_the_size(spec):
    assert Autoencoder(spec)(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)


def test_training_lowers_the_error_and_leaves_the_generator_alone(faces):
    pixels = np.stack([faces.pixels(row) for row in range(2)])
    state = torch.get_rng_state()
    errors = []
    for steps in (1, 40):
        model = train_autoencoder(DECODERS[0], pixels, steps=steps, batch_size=2, seed=0, device=CPU)
        made = reconstruct.reconstruct(model, pixels, CPU)
        errors.append(np.abs(made.astype(int) - pixels).mean())
    assert errors[1] < errors[0]
    assert torch.equal(torch.get_rng_state(), state)

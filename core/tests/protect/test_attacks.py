"""Attacks keep their bound, are reproducible, and reach the strongest perturbation where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_core.protect.attacks import added, pgd, shaken

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(10, 246, (11, 8, 6, 3)).astype(np.uint8)


def attack(gain, images, levels=3, **options):
    return pgd(gain, images, levels, **{"steps": 10, "batch": 4, "device": CPU, **options})


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_every_channel_goes_as_far_as_it_may_where_more_is_better(images, levels):
    wanted = np.random.default_rng(1).choice([-1, 1], images.shape)
    weights = torch.from_numpy(wanted).permute(0, 3, 1, 2).float()
    changed = attack(lambda _, pictures, rows: (weights[rows] * pictures).sum((1, 2, 3)), images, levels)
    assert np.array_equal(changed.astype(int) - images, levels * wanted)


def test_pictures_come_as_they_are_and_changed(images):
    seen = []

    def gain(clean, changed, rows):
        seen.append((clean.detach().clone(), (changed - clean).abs().max().item(), rows))
        return changed.sum((1, 2, 3))

    attack(gain, images)
    assert [rows.start for _, _, rows in seen] == [0] * 10 + [4] * 10 + [8] * 10
    for clean, far, rows in seen:
        assert torch.equal((255 * clean).round().permute(0, 2, 3, 1).to(torch.uint8), torch.from_numpy(images[rows]))
        assert 0 < far <= 3 / 255 + 1e-6


def test_it_is_the_same_each_time_and_parameters_get_no_gradient(images):
    network = torch.nn.Conv2d(3, 1, 3)

    def gain(_clean, changed, _rows):
        return network(changed).square().sum((1, 2, 3))

    first = attack(gain, images)
    assert np.array_equal(first, attack(gain, images))
    assert np.array_equal(first[:4], attack(gain, images[:4]))
    assert not np.array_equal(first, images)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_it_goes_on_from_a_weaker_attack(images):
    target = torch.rand(11, 3, 8, 6, generator=torch.Generator().manual_seed(0))

    def gain(_clean, changed, rows):
        return -(changed - target[rows]).abs().sum((1, 2, 3))

    weak = attack(gain, images, levels=2)
    strong = attack(gain, images, levels=4, steps=4, begin=weak)
    assert np.abs(strong.astype(int) - images).max() == 4
    wanted = np.sign((255 * target.permute(0, 2, 3, 1)).numpy() - images)
    far = np.abs((255 * target.permute(0, 2, 3, 1)).numpy() - images) > 6
    assert np.array_equal((strong.astype(int) - images)[far], (4 * wanted)[far])


def test_the_pixel_range_is_kept():
    ends = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)])
    signs = torch.tensor([-1.0, 1.0])
    changed = attack(lambda _, pictures, rows: signs[rows] * pictures.sum((1, 2, 3)), ends)
    assert np.array_equal(changed, ends)
    assert set(np.unique(shaken(ends, 4)).tolist()) == {0, 4, 251, 255}
    assert np.array_equal(added(ends, np.full(ends.shape, 300, np.int16)), np.full_like(ends, 255))


def test_random_changes_are_of_the_whole_bound_and_balanced(images):
    change = shaken(images, 3).astype(int) - images
    assert set(np.unique(change).tolist()) == {-3, 3}
    assert abs(change.mean()) < 0.3
    assert np.array_equal(shaken(images, 3), shaken(images, 3, seed=0))
    assert not np.array_equal(shaken(images, 3), shaken(images, 3, seed=1))


def test_no_pictures_are_none():
    nothing = np.empty((0, 4, 4, 3), np.uint8)
    assert attack(lambda _, pictures, rows: pictures.sum((1, 2, 3)), nothing).shape == nothing.shape

"""Real faces and fakes agree in a number over many draws, and a fake with an original keeps it."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_core.evaluation.metrics import roc_auc
from deepfake_core.training.pairs.matching import VARIETY, Weighted, matching

pytestmark = pytest.mark.torch


def drawn(found, of_fakes, of_pool, n=20_000):
    """How well the number tells the drawn classes apart; the places of the fakes and of their partners."""
    rng = np.random.default_rng(1)
    fake = Weighted(found.often).draw(rng.random(n))
    real = found.partners[Weighted(found.weights).draw(rng.random(n), found.first[fake], found.last[fake])]
    values = np.concatenate([of_fakes[fake], of_pool[real]])
    return roc_auc(np.repeat([1, 0], n), values), fake, real


def whole(fakes, pool):
    return np.zeros(len(fakes), np.intp), np.full(len(fakes), len(pool), np.intp)


@pytest.mark.parametrize(("apart", "pool"), [(0.5, 770), (1.8, 2000)])
def test_fakes_beside_a_pool_get_real_faces_of_the_same_bin(apart, pool):
    rng = np.random.default_rng(0)
    of_fakes, of_pool = rng.normal(apart, 1, 770), rng.normal(0, 1, pool)
    found = matching(of_fakes, of_pool, *whole(of_fakes, of_pool))
    auc, fake, real = drawn(found, of_fakes, of_pool)
    assert auc == pytest.approx(0.5, abs=0.015)
    assert np.abs(of_fakes[fake] - of_pool[real]).mean() < 0.15
    assert found.often.mean() == pytest.approx(1)
    assert len(np.unique(real)) > 0.5 * pool


@pytest.mark.parametrize("originals", [1, 4])
def test_a_fake_keeps_its_original_and_the_pairs_that_come_balance(originals):
    rng = np.random.default_rng(0)
    count = 1500
    of_pool = np.repeat(rng.normal(0, 1, count), originals) + rng.normal(0, 0.05, count * originals)
    of_fakes = of_pool[::originals] - 0.15 + rng.normal(0, 0.3, count)
    first = np.arange(count) * originals
    found = matching(of_fakes, of_pool, first, first + originals)
    auc, fake, real = drawn(found, of_fakes, of_pool)
    assert (real // originals == fake).all()
    assert auc == pytest.approx(0.5, abs=0.015)
    assert found.effective > VARIETY


def test_fakes_that_are_all_softer_than_their_originals_come_closer_and_keep_their_variety():
    rng = np.random.default_rng(0)
    of_pool = rng.normal(0, 1, 1000)
    of_fakes = of_pool - 0.8 + rng.normal(0, 0.2, 1000)
    first = np.arange(1000)
    found = matching(of_fakes, of_pool, first, first + 1)
    assert 0.29 < drawn(found, of_fakes, of_pool)[0] < 0.45
    assert found.effective >= VARIETY


def test_fakes_with_and_without_originals_of_one_source_both_agree():
    rng = np.random.default_rng(0)
    of_pool = rng.normal(0, 1, 800)
    of_fakes = np.concatenate([of_pool[:400] - 0.1 + rng.normal(0, 0.3, 400), rng.normal(1, 1, 400)])
    first, last = whole(of_fakes, of_pool)
    first[:400], last[:400] = np.arange(400), np.arange(400) + 1
    found = matching(of_fakes, of_pool, first, last)
    auc, fake, real = drawn(found, of_fakes, of_pool)
    assert auc == pytest.approx(0.5, abs=0.02)
    assert (real[fake < 400] == fake[fake < 400]).all()
    assert (fake < 400).mean() == pytest.approx(0.5, abs=0.02)


def test_what_cannot_be_matched_stays_as_it_is():
    few = matching(np.array([3.0, 4, np.nan]), np.array([1.0, np.nan]), *whole(np.arange(3), np.arange(2)))
    assert few.often.tolist() == [1, 1, 1]
    assert (few.last - few.first).tolist() == [2, 2, 2]
    apart, pool = np.arange(40.0) + 1000, np.arange(60.0)
    assert (matching(apart, pool, *whole(apart, pool)).often == 1).all()


def test_weights_are_those_of_the_draw_and_ranges_are_kept():
    chance = (np.arange(1000) + 0.5) / 1000
    assert np.bincount(Weighted(np.array([1.0, 0, 3])).draw(chance)).tolist() == [250, 0, 750]
    inside = Weighted(np.array([5.0, 1, 1, 5])).draw(chance, np.full(1000, 1), np.full(1000, 3))
    assert np.bincount(inside).tolist() == [0, 500, 500]

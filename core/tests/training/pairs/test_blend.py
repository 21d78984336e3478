"""Pseudo-fakes: what is blended, where, and that a seed decides all of it."""

import numpy as np
import pytest

from deepfake_core.data.crops import face_mesh as lm
from deepfake_core.testing import draw_face
from deepfake_core.training.data.degrade import degrade, recode
from deepfake_core.training.pairs.blend import composite, self_blend
from deepfake_core.training.pairs.face_table import STORE_SIDE
from deepfake_core.training.pairs.masks import face_mask, part_mask, soften

pytestmark = pytest.mark.torch


def oval_points() -> np.ndarray:
    """Landmarks spread over an ellipse in the middle of a stored crop."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, len(lm.POINTS))
    radius = np.sqrt(rng.uniform(0, 1, len(lm.POINTS)))
    centre = STORE_SIDE / 2
    return np.stack([centre + 60 * radius * np.cos(angle), centre + 80 * radius * np.sin(angle)], 1).astype(np.float32)


@pytest.fixture
def face() -> np.ndarray:
    picture = np.asarray(draw_face(3))
    return np.ascontiguousarray(np.resize(picture[:STORE_SIDE, :STORE_SIDE], (STORE_SIDE, STORE_SIDE, 3)))


def test_landmark_rows_are_those_of_the_part():
    assert [lm.POINTS[row] for row in lm.places(lm.LIPS)] == list(lm.LIPS)
    assert len(set(lm.POINTS)) == len(lm.POINTS)


def test_masks_cover_the_face_and_parts_are_smaller():
    points = oval_points()
    rng = np.random.default_rng(1)
    whole = max((face_mask(points, STORE_SIDE, rng) for _ in range(8)), key=np.sum)
    assert set(np.unique(whole)) == {0.0, 1.0}
    assert whole[STORE_SIDE // 2, STORE_SIDE // 2] == 1.0
    assert whole[:40].sum() == 0
    assert all(part_mask(points, STORE_SIDE, rng).sum() > 0 for _ in range(20))


@pytest.mark.parametrize("small", [False, True])
def test_softened_masks_stay_in_range_and_do_not_vanish(small):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        hard = (part_mask if small else face_mask)(oval_points(), STORE_SIDE, rng)
        soft = soften(hard, rng, small=small)
        assert soft.dtype == np.float32
        assert soft.min() >= 0.0
        assert 0.5 < soft.max() <= 1.0
        assert len(np.unique(soft)) > 10, "the edge is not soft"


def test_a_self_blend_differs_from_its_real_face_only_under_the_mask(face):
    changed = 0
    for seed in range(12):
        real, fake, mask = self_blend(face, oval_points(), np.random.default_rng(seed))
        difference = np.abs(real.astype(int) - fake.astype(int)).max(2)
        assert difference[mask == 0].max() == 0
        changed += difference.max() > 0
    assert changed >= 11


def test_a_blend_is_decided_by_its_seed(face):
    for make in (
        lambda rng: self_blend(face, oval_points(), rng),
        lambda rng: composite(face, oval_points(), face[:, ::-1].copy(), oval_points(), rng),
    ):
        first, second = (make(np.random.default_rng(5)) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_composite_shows_the_donor_under_the_mask(face):
    donor = 255 - face
    real, fake, mask = composite(face, oval_points(), donor, oval_points(), np.random.default_rng(2))
    np.testing.assert_array_equal(real, face)
    assert np.abs(fake.astype(int) - real.astype(int))[mask > 0.5].mean() > 1


def test_both_of_a_pair_go_through_the_same_chain(face):
    for seed in range(10):
        a, b = (degrade(face, np.random.default_rng(seed), 224) for _ in range(2))
        np.testing.assert_array_equal(a, b)
        assert a.shape == (224, 224, 3)
        assert a.dtype == np.uint8


def test_recoding_keeps_shape_and_colour_order(face):
    red = np.zeros_like(face)
    red[..., 0] = 200
    again = recode(red, ".jpg", [])
    assert again.shape == red.shape
    assert again[..., 0].mean() > 150 > again[..., 2].mean()

"""Pictures of pairs on the host: what is blended, where, and that only the manipulation tells a pair apart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from drawn_faces import DrawnFaces, shape

from deepfake_core.data.crops import face_mesh as mesh
from deepfake_core.training.data.degrade import (
    Blur,
    Degradation,
    Resample,
    Sharpening,
    Size,
    degrade,
    degraded,
    detail_of,
    draw_colour,
    draw_degradation,
    draw_size,
    recode,
    recoloured,
    warped,
)
from deepfake_core.training.pairs.draws import FAMILIES, MASK_SIDE, STRENGTHS, Blend, Swapper, draw_mask, draw_move
from deepfake_core.training.pairs.host import blended, host_pairs, soft_mask, undegraded
from deepfake_core.training.pairs.pairs import as_at_inference
from deepfake_core.training.pairs.planner import EQUAL, PairSource, Planner

pytestmark = pytest.mark.torch

FACES = DrawnFaces(100, side=128)


def rng(*seed):
    return np.random.default_rng(seed)


def other_colours(row, autoencoder):
    """Stands for the reconstruction of a face."""
    return FACES.pixels(row)[..., ::-1]


@cache
def planner(size=64):
    source = PairSource(FACES, np.arange(len(FACES)), decoders=(0,), reconstruct=other_colours)
    return Planner(source, EQUAL, size=size, margin=1.3, cells=7)


def points(n=1):
    return np.repeat(2 * shape()[None] - 1, n, 0)


@pytest.mark.parametrize("parts", [0.0, 1.0])
def test_masks_lie_on_the_face_and_have_a_soft_edge(parts):
    n = 40
    masks = draw_mask(rng(3), points(n), parts=parts, faded=False)
    made = np.stack([soft_mask(masks, place) for place in range(n)])
    assert made.shape == (n, MASK_SIDE, MASK_SIDE)
    assert made.dtype == np.float32
    assert made.min() >= 0
    np.testing.assert_allclose(made.max((1, 2)), 1, rtol=1e-6)
    assert all(len(np.unique(mask)) > 10 for mask in made)
    edge = np.concatenate([made[:, :4].ravel(), made[:, -4:].ravel()])
    assert edge.mean() < 0.01, "beyond the face"
    assert (made.mean((1, 2)) > 0.02).all() if parts == 0 else (made.mean() < 0.08)


def test_a_mask_covers_what_its_half_planes_cover():
    """Without elastic change and blur, it is the hull that OpenCV fills."""
    n = 12
    masks = draw_mask(rng(0), points(n), parts=0.5, faded=False)
    nothing = np.zeros(n, np.float32)
    masks = replace(masks, elastic=0 * masks.elastic, first=nothing + 0.01, second=nothing + 0.01, threshold=nothing)
    face = points()[0]
    whole = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    pixels = np.rint(((face * 1.12 + 1) / 2 * MASK_SIDE - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(whole, cv2.convexHull(pixels), 1, shift=4)
    for place in range(n):
        made = soft_mask(masks, place) > 0.5
        assert made.any()
        assert (made & (whole == 0)).sum() < 0.04 * whole.sum()


def test_the_hull_of_the_face_is_that_of_opencv():
    masks = draw_mask(rng(8), points(64), parts=0.0, faded=False)
    nothing = np.zeros(64, np.float32)
    masks = replace(masks, elastic=0 * masks.elastic, first=nothing + 0.01, second=nothing + 0.01, threshold=nothing)
    areas = np.array([soft_mask(masks, place).sum() for place in range(64)]) / MASK_SIDE**2
    pixels = (points()[0] * 1000).astype(np.int32)
    hull = cv2.contourArea(cv2.convexHull(pixels)) / 2000**2
    # Scales of 0.93 to 1.07; a quarter without the forehead, a quarter of 0.8 times the size.
    assert hull * 1.05**2 < areas.max() < hull * 1.08**2
    assert hull * 0.92**2 * 0.8**2 < areas.min() < hull * 0.9**2


def test_self_blends_have_the_strengths_of_the_paper():
    masks = draw_mask(rng(0), points(400), parts=0.3, faded=True)
    values, counts = np.unique(masks.strength, return_counts=True)
    assert values.tolist() == sorted(set(STRENGTHS))
    assert counts[-1] / 400 == pytest.approx(0.5, abs=0.08)
    assert (draw_mask(rng(0), points(9), parts=0.3, faded=False).strength == 1).all()


def test_the_source_of_a_self_blend_moves_a_little():
    move = draw_move(rng(0), 500)
    centre, scale = move[:, :, 2], np.sqrt(np.linalg.det(move[:, :, :2]))
    assert np.abs(centre).max(0) == pytest.approx([0.06, 0.03], rel=0.05)  # of the half side
    assert scale.min() > 0.949
    assert scale.max() < 1.051


@pytest.mark.parametrize("family", ["self_blend", "composite"])
def test_a_blend_differs_from_its_real_face_only_under_the_mask(family):
    changed = 0
    for seed in range(12):
        chunk = planner().draw(rng(seed), 1, family)
        real, fake, mask = undegraded(chunk, 0, FACES, other_colours)
        weight = cv2.resize(mask, real.shape[:2], interpolation=cv2.INTER_LINEAR)
        difference = np.abs(real.astype(int) - fake).max(2)
        assert difference[weight == 0].max(initial=0) == 0
        assert (difference <= 255 * weight + 1).all()
        changed += difference.max() > 2
        if family == "composite":
            np.testing.assert_array_equal(real, FACES.pixels(int(chunk.rows[0])))
    assert changed >= 11


def test_a_composite_shows_the_aligned_donor_under_the_mask():
    """A donor with marks at its landmarks shows them where the landmarks of the target are."""
    chunk = planner().draw(rng(2), 1, "composite")
    nose = mesh.places(mesh.NOSE)
    donor = np.zeros((128, 128, 3), np.uint8)
    x, y = FACES.points[int(chunk.others[0])][nose].mean(0) * 128
    cv2.circle(donor, (round(float(x)), round(float(y))), 6, (255, 255, 255), -1)
    seen = warped(donor, chunk.blend.move[0], 128)[..., 0].astype(float)
    wanted = FACES.points[int(chunk.rows[0])][nose].mean(0) * 128
    rows, columns = np.mgrid[:128, :128]
    found = np.array([(columns * seen).sum(), (rows * seen).sum()]) / seen.sum()
    assert np.abs(found - wanted).max() < 1.5


def test_the_colours_of_a_matched_donor_are_those_of_the_target():
    for seed in range(30):
        chunk = planner().draw(rng(seed), 1, "composite")
        if chunk.blend.matched[0] and chunk.blend.mask.support[0, 0].min() > 0.2:
            break
    target = FACES.pixels(int(chunk.rows[0]))
    donor = (0.5 * FACES.pixels(int(chunk.others[0])) + 90).astype(np.uint8)
    blend = replace(chunk.blend, mismatch=None)
    inside = cv2.resize(soft_mask(blend.mask, 0), (128, 128)) > 0.9
    means = []
    for matched in (False, True):
        _, fake, _ = blended(donor, target, replace(blend, matched=np.array([matched])), 0)
        means.append(np.abs(fake[inside].mean(0) - target[inside].mean(0)).max())
    assert means[1] < 6 < means[0]


def test_both_of_a_pair_go_through_the_same_chain():
    face = FACES.pixels(0)
    for seed in range(30):
        crop = planner().draw(rng(seed), 2, "self_blend").degradation.crop
        chain = draw_degradation(rng(seed), 2, 64, colour=True, crop=crop)
        for place in range(2):
            one, other = degraded([face, face.copy()], chain, 64, place)
            np.testing.assert_array_equal(one, other)
            assert one.shape == (64, 64, 3)
            assert one.dtype == np.uint8


@pytest.mark.parametrize(("width", "height"), [(40, 40), (64, 64), (130, 90), (90, 700)])
def test_pictures_of_any_size_are_degraded(width, height):
    face = cv2.resize(FACES.pixels(1), (width, height))
    levels = []
    for seed in range(20):
        one, other = (degrade(face, rng(seed), 64) for _ in range(2))
        np.testing.assert_array_equal(one, other)
        assert one.shape == (64, 64, 3)
        levels.append(one.mean())
    assert np.ptp(levels) < 6, "the chain changes what the picture shows"


def octaves(picture):
    """Energy of the luma in each octave."""
    how = detail_of(picture.shape[0])
    luma = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    seen = np.abs(np.fft.rfft2((luma - luma.mean()) * how.window)) ** 2
    return seen.ravel() @ how.octaves


@pytest.mark.parametrize("of", ["real", "fake"])
def test_a_soft_picture_and_a_sharp_one_get_the_same_detail(of):
    face = np.clip(FACES.pixels(3) + rng(0).normal(0, 12, (128, 128, 1)), 0, 255).astype(np.uint8)
    pair = [face, cv2.GaussianBlur(face, (0, 0), 0.7)]
    before = np.log(octaves(pair[0]) / octaves(pair[1]))
    chain = Degradation(detail=of)
    made = degraded(pair, chain, 128)
    after = np.log(octaves(made[0]) / octaves(made[1]))
    assert before.max() > 2
    assert np.abs(after).max() < 0.6
    kept = ("real", "fake").index(of) ^ 1
    np.testing.assert_array_equal(made[kept], pair[kept])
    np.testing.assert_array_equal(degraded([face, face], chain, 128), [face, face])


def test_sharpening_raises_the_fine_octaves_of_both_pictures():
    sharpening = Sharpening(np.array([1.0], np.float32), Blur(np.array([1.0], np.float32)))
    face = FACES.pixels(2)
    one, other = degraded([face, face.copy()], Degradation(sharpening=sharpening), 128)
    np.testing.assert_array_equal(one, other)
    assert (octaves(one)[:2] > 1.5 * octaves(face)[:2]).all()
    assert np.abs(one.mean() - face.mean()) < 2


def test_a_drawn_size_leaves_no_finer_detail():
    """A large and a small picture of a face are alike once both were brought to one side."""
    large = np.clip(cv2.resize(FACES.pixels(2), (256, 256)) + rng(0).normal(0, 9, (256, 256, 3)), 0, 255).astype(
        np.uint8
    )
    small = cv2.resize(large, (96, 96), interpolation=cv2.INTER_AREA)
    chain = Degradation(size=Size(48, "area", "bicubic"))
    one, other = degraded([large, small], chain, 64)
    assert np.abs(one.astype(int) - other).mean() < 1
    strong, standard = (
        [draw_size(rng(seed), (100, 400), strength=strength).side for seed in range(200)]
        for strength in ("strong", "standard")
    )
    assert min(strong) < 0.8 * min(standard)
    assert max(strong) <= max(standard) <= 400
    assert not any(side % 16 for side in strong + standard)


def test_strong_chains_degrade_more():
    face = np.clip(FACES.pixels(5) + rng(0).normal(0, 9, (128, 128, 3)), 0, 255).astype(np.uint8)
    means = []
    for strength in ("standard", "strong"):
        chains = [draw_degradation(rng(seed), 1, 128, strength=strength) for seed in range(60)]
        means.append(np.mean([np.abs(degraded([face], chain, 128)[0].astype(int) - face).mean() for chain in chains]))
    assert means[1] > 1.1 * means[0]


def test_the_face_of_a_swapper_is_softer_than_what_surrounds_it():
    face = np.clip(FACES.pixels(4) + rng(0).normal(0, 12, (128, 128, 1)), 0, 255).astype(np.uint8)
    chunk = next(c for c in (planner().draw(rng(seed), 1, "self_blend") for seed in range(99)) if c.blend.swapper)
    one, identity = np.ones(1, np.float32), np.eye(2, 3, dtype=np.float32)[None]
    swapper = Swapper(Resample(0.5, "area", "bicubic"), None)
    mask = replace(chunk.blend.mask, strength=one)
    blend = replace(chunk.blend, move=identity, mismatch=None, swapper=swapper, mask=mask)
    target, fake, weight = blended(face, face, blend, 0)
    np.testing.assert_array_equal(target, face)
    fine = np.abs(fake - cv2.GaussianBlur(fake.astype(np.float32), (0, 0), 1)).mean(2)
    inside = cv2.resize(weight, (128, 128)) > 0.95
    outside = cv2.resize(weight, (128, 128)) == 0
    assert fine[inside].mean() < 0.6 * fine[outside].mean()
    sharper = Sharpening(2 * one, Blur(one))
    _, restored, _ = blended(face, face, replace(blend, swapper=replace(swapper, sharpening=sharper)), 0)
    assert np.abs(restored.astype(int) - fake)[inside].mean() > 1


def test_a_hard_edge_is_narrower():
    mask = draw_mask(rng(1), points(), parts=0.0, faded=False)
    black, white = (np.full((128, 128, 3), level, np.uint8) for level in (0, 255))
    identity = np.eye(2, 3, dtype=np.float32)[None]
    widths = []
    for hardness in (1, 4):
        hard = replace(mask, second=np.full(1, 2, np.float32), hardness=np.full(1, hardness, np.float32))
        _, fake, _ = blended(white, black, Blend(identity, np.zeros(1, bool), None, None, hard), 0)
        widths.append(((fake > 10) & (fake < 245)).mean())
    assert widths[1] < 0.5 * widths[0]


def test_a_dark_picture_stays_visible():
    dark = np.full((32, 32, 3), 60, np.uint8)
    dark[:16] = 30
    for seed in range(100):
        (changed,) = recoloured([dark], draw_colour(rng(seed), 1, strong=True), 0)
        assert changed.max() > 20


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [1, 4])
def test_a_chunk_gives_the_real_faces_and_then_their_fakes(family, n):
    chunk = planner().draw(rng(1), n, family, size=48)
    images, masks = host_pairs(chunk, FACES, other_colours)
    again, _ = host_pairs(chunk, FACES, other_colours)
    np.testing.assert_array_equal(images, again)
    assert images.shape == (2 * n, 48, 48, 3)
    assert images.dtype == np.uint8
    assert masks.shape == (n, 5, 5)  # 7 cells at 64 pixels
    assert masks.dtype == np.float32
    if family == "labelled":
        assert np.isnan(masks).all()
    else:
        assert masks.min() >= 0
        assert masks.max() <= 1
        assert masks.max((1, 2)).all()


def test_a_mixed_fake_shows_its_real_face_where_the_evidence_says_so():
    source = planner().source
    plan = Planner(source, EQUAL.model_copy(update={"mix": 1.0}), size=64, margin=1.3, cells=16)
    known = 0
    for seed in range(8):
        chunk = plan.draw(rng(seed), 1, "labelled")
        moved = replace(chunk.blend, move=np.float32([[[1, 0, 0], [0, 1, 0]]]), matched=np.array([False]))
        chunk = replace(chunk, blend=moved)
        real, fake, mask = undegraded(chunk, 0, FACES)
        np.testing.assert_array_equal(real, FACES.pixels(int(chunk.rows[0])))
        weight = cv2.resize(mask, real.shape[:2], interpolation=cv2.INTER_LINEAR)
        unmixed = FACES.pixels(int(chunk.others[0]))
        np.testing.assert_array_equal(fake[weight == 0], unmixed[weight == 0])
        assert np.abs(fake[weight > 0.99].astype(int) - real[weight > 0.99]).max(initial=0) <= 3
        _, (cells,) = host_pairs(chunk, FACES)
        assert (np.isnan(cells) | (cells == 0)).all()
        assert np.isnan(cells).any()
        known += int((cells == 0).sum())
    assert known > 8


def test_masks_follow_the_crop():
    """The mask of the result lies where the blend is seen."""
    for seed in range(6):
        chunk = planner().draw(rng(seed), 1, "composite")
        size, crop = chunk.degradation.size, chunk.degradation.crop
        chunk = replace(chunk, degradation=Degradation(size=size, crop=crop), cells=16)
        (real, fake), (mask,) = host_pairs(chunk, FACES, other_colours)
        changed = np.abs(real.astype(int) - fake).max(2).reshape(16, 4, 16, 4).max((1, 3))
        assert changed[mask == 0].max(initial=0) == 0
        assert changed[mask > 0.5].mean() > 2


def test_validation_pairs_are_cut_as_the_detector_cuts():
    chunk = as_at_inference(planner(), rng(0), 2, "self_blend")
    share = np.float32(1.3 / 1.7)
    np.testing.assert_array_equal(chunk.degradation.crop.move, [[[share, 0, 0], [0, share, 0]]] * 2)
    assert ((chunk.degradation.last.quality >= 60) & (chunk.degradation.last.quality <= 95)).all()


@pytest.mark.parametrize("family", ["self_blend", "labelled"])
def test_chunks_of_any_length_give_the_same_distribution(family):
    """Mean and spread of the levels, and how far fakes are from their real faces, in 128 pairs each."""
    found = []
    for n in (1, 32):
        chunks = [planner().draw(rng(7, number), n, family) for number in range(128 // n)]
        pairs = [host_pairs(chunk, FACES, other_colours)[0] for chunk in chunks]
        real = np.concatenate([images[:n] for images in pairs]).astype(float)
        fake = np.concatenate([images[n:] for images in pairs]).astype(float)
        found.append([real.mean(), real.std(), np.abs(real - fake).mean()])
    one, many = np.array(found)
    assert np.abs(one - many).max() < 12


def test_recoding_keeps_shape_and_colour_order():
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 0] = 200
    again = recode(red, ".jpg", [])
    assert again.shape == red.shape
    assert again[..., 0].mean() > 150 > again[..., 2].mean()

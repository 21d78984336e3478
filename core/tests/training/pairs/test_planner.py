"""Which faces become pairs: the generator alone decides, and every choice keeps to the faces in use."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, is_dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_faces import DrawnFaces

from deepfake_core.contract.recipe import Pairs
from deepfake_core.data.crops.neighbours import COUNT
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.pairs.draws import FAMILIES
from deepfake_core.training.pairs.planner import CANDIDATES, PairSource, Planner

pytestmark = pytest.mark.torch

EQUAL = dict.fromkeys(FAMILIES, 1.0)
NONE = dict.fromkeys(FAMILIES, 0.0)


def planner(faces=None, rows=None, *, shares=EQUAL, **options):
    faces = DrawnFaces() if faces is None else faces
    options = {"decoders": (0, 1)} | options
    source = PairSource(faces, np.arange(len(faces)) if rows is None else rows, **options)
    return Planner(source, Pairs(pseudo=NONE | shares), size=64, margin=1.3, cells=7)


def rng(*seed):
    return np.random.default_rng(seed)


def alike(one, other):
    """Whether two chunks, or parts of them, are the same."""
    if is_dataclass(one):
        return type(one) is type(other) and all(
            alike(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    return np.array_equal(one, other)


def lengths(part, n):
    """Check that each array of a chunk has n rows, and return how many arrays there are."""
    if is_dataclass(part):
        return sum(lengths(getattr(part, field.name), n) for field in fields(part))
    assert not isinstance(part, np.ndarray) or len(part) == n
    return isinstance(part, np.ndarray)


@pytest.mark.parametrize("n", [1, 5])
def test_the_generator_alone_decides_a_chunk(n):
    one, other = planner(), planner()
    for seed in range(8):
        assert alike(one.draw(rng(seed), n), other.draw(rng(seed), n))
    assert not alike(one.draw(rng(0), n), one.draw(rng(1), n))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_differs_from_pair_to_pair_is_an_array_of_all_pairs(family):
    plan = planner()
    for seed in range(8):
        chunk = plan.draw(rng(seed), 3, family)
        assert lengths(chunk, 3) >= 3
        assert len(chunk) == 3
        assert (chunk.autoencoder is not None) >= (family == "reconstruct")
        assert (chunk.blend is not None) == (family in ("self_blend", "composite"))


def test_families_have_their_shares_and_those_that_cannot_be_made_are_left_out():
    plan = planner(shares={"self_blend": 0.3, "labelled": 0.1, "reconstruct": 0.4}, decoders=())
    assert plan.shares == {"self_blend": pytest.approx(0.75), "labelled": pytest.approx(0.25)}
    found = Counter(plan.draw(rng(seed), 1).family for seed in range(200))
    assert set(found) == {"self_blend", "labelled"}
    assert found["self_blend"] > found["labelled"]


def test_a_face_is_drawn_by_the_square_root_of_the_size_of_its_source():
    faces = DrawnFaces(100)
    faces.fake[:] = 0
    faces.sources = (np.arange(100) < 10).astype(np.int32)
    chunk = planner(faces).draw(rng(0), 4000, "self_blend")
    assert (chunk.rows < 10).mean() == pytest.approx(10**0.5 / (10**0.5 + 90**0.5), abs=0.03)


def test_only_faces_in_use_with_landmarks_are_drawn():
    faces = DrawnFaces(200)
    faces.usable[::5] = False
    rows = np.arange(0, 200, 2)
    plan = planner(faces, rows)
    for family in FAMILIES:
        for seed in range(4):
            chunk = plan.draw(rng(seed), 16, family)
            for drawn in (chunk.rows, chunk.others):
                assert np.isin(drawn, rows).all()
                assert faces.usable[drawn].all()
            assert (faces.fake[chunk.rows] == 0).all()
            assert (faces.fake[chunk.others] == (family == "labelled")).all()


@pytest.mark.parametrize("in_use", [1, COUNT])
def test_the_donor_of_a_composite_is_a_similar_face_in_use(in_use):
    """A chosen neighbour where enough of them are in use, else the most similar one of some random faces."""
    faces = DrawnFaces(300)
    faces.fake[:] = 0
    width = np.where(np.arange(300) % 2, 0.7, 1.3)  # narrow and wide faces
    faces.points = faces.points * np.stack([width, np.ones(300)], 1)[:, None].astype(np.float32)
    rows = np.arange(200)
    near = np.full((300, COUNT), 299, np.int32)  # not in use
    for row in rows:
        near[row, :in_use] = [(row + 2 * step) % 200 for step in range(1, in_use + 1)]
    faces.store = SimpleNamespace(neighbours=near)
    chunk = planner(faces, rows).draw(rng(1), 64, "composite")
    assert (chunk.others < 200).all()
    assert (chunk.others != chunk.rows).all()
    assert (chunk.others % 2 == chunk.rows % 2).all()
    steps = (chunk.others - chunk.rows) % 200 // 2
    assert (steps[steps <= COUNT] >= 1).all()
    assert len(np.unique(steps)) > 15
    assert (steps <= COUNT).all() == (in_use == COUNT)


def test_a_donor_is_aligned_with_its_target():
    faces = DrawnFaces(100)
    turn = np.array([[0.9, -0.3], [0.2, 0.8]], np.float32)
    faces.points[1::2] = (faces.points[1::2] - 0.5) @ turn + 0.55
    plan = planner(faces)
    for seed in range(6):
        chunk = plan.draw(rng(seed), 8, "composite")
        targets, donors = (2 * faces.points[rows] - 1 for rows in (chunk.rows, chunk.others))
        move = chunk.blend.move
        found = targets @ move[:, :, :2].transpose(0, 2, 1) + move[:, None, :, 2]
        assert np.abs(found - donors).max() < 0.06  # the shapes differ by chance
        assert np.abs(found - donors).mean() < 0.015


def test_a_real_face_is_never_one_that_was_reconstructed():
    plan = planner()
    kinds = [plan.draw(rng(seed), 1, family) for family in ("self_blend", "composite") for seed in range(80)]
    made = [chunk for chunk in kinds if chunk.autoencoder is not None]
    assert len(made) > 10
    assert all(chunk.blend.mismatch.of == "source" for chunk in made)


def test_where_few_reconstructions_are_stored_only_those_are_asked_for():
    stored = np.arange(0, 60, 12)
    plan = planner(reconstructed=stored, decoders=(1,))
    for family in FAMILIES:
        for seed in range(40):
            chunk = plan.draw(rng(seed), 2, family)
            assert chunk.autoencoder in (None, 1)
            if chunk.autoencoder is not None:
                assert np.isin(chunk.others, stored).all()


def test_half_of_the_blends_come_from_a_swapper():
    plan = planner(DrawnFaces(side=320))
    for family in ("self_blend", "composite"):
        blends = [plan.draw(rng(seed), 1, family).blend for seed in range(200)]
        swappers = [blend.swapper for blend in blends if blend.swapper]
        assert len(swappers) / 200 == pytest.approx(0.5, abs=0.1)
        reduced = [swapper.resample.scale * 320 / 1.7 for swapper in swappers if swapper.resample]
        assert 72 <= min(reduced) < 90
        assert 150 < max(reduced) < 200
        assert all(swapper.resample or swapper.sharpening for swapper in swappers)
        sharpened = sum(swapper.sharpening is not None for swapper in swappers)
        assert 0.35 < sharpened / len(swappers) < 0.75
        assert sum(blend.mask.hardness[0] > 1 for blend in blends) / 200 == pytest.approx(1 / 3, abs=0.1)


def test_most_pairs_get_the_same_amount_of_detail_in_either_direction():
    plan = planner()
    for family in FAMILIES:
        of = Counter(plan.draw(rng(seed), 1, family).degradation.detail for seed in range(60))
        assert of["real"] > 5
        assert of["fake"] > 5
        assert (of[None] == 0) == (family == "reconstruct")


def labelled(sources, groups, families, fake, names, rows=None):
    """The pairs of real faces and labelled fakes that are drawn."""
    faces = DrawnFaces(len(fake))
    faces.fake, faces.sources = np.array(fake, np.int8), np.array(sources, np.int32)
    faces.groups, faces.families, faces.source_names = np.array(groups, np.int32), np.array(families, np.int32), names
    chunk = planner(faces, rows, shares={"labelled": 1, "self_blend": 1}).draw(rng(0), 300, "labelled")
    return set(zip(chunk.rows.tolist(), chunk.others.tolist(), strict=True))


def test_a_labelled_fake_stands_beside_its_own_original():
    # Rows 0 to 3 are real. Fake 4 has the group of row 1, fake 5 the family of rows 2 and 3, fake 6 neither.
    found = labelled([0] * 7, [0, 1, 2, 3, 1, 9, 8], [0, 1, 2, 2, 1, 2, 8], [0] * 4 + [1] * 3, ["a"])
    assert found == {(1, 4), (2, 5), (3, 5), (0, 6), (1, 6), (2, 6), (3, 6)}


def test_an_original_that_is_not_in_use_is_replaced_by_others_of_the_source():
    found = labelled([0] * 4, [0, 1, 2, 1], [0, 1, 2, 1], [0, 0, 0, 1], ["a"], rows=np.array([0, 2, 3]))
    assert found == {(0, 3), (2, 3)}


def test_sources_without_real_faces_share_those_of_their_collection():
    names = ["ff/original", "ff/swap", "other", "generated"]
    # Real: 0 and 1 of ff/original, 2 of other. Fakes: 3 and 4 of ff/swap, 5 of a source on its own.
    found = labelled([0, 0, 2, 1, 1, 3], [0, 1, 2, 3, 4, 5], [0, 1, 2, 1, 4, 5], [0, 0, 0, 1, 1, 1], names)
    assert found == {(1, 3), (0, 4), (1, 4)}


def test_faces_that_give_no_pairs_are_refused():
    faces = DrawnFaces(12)
    with pytest.raises(TrainingDataError, match="no real faces with landmarks"):
        planner(faces, np.flatnonzero(faces.fake))
    with pytest.raises(TrainingDataError, match="composite alone, but these faces give self_blend, reconstruct"):
        planner(faces, np.flatnonzero(faces.fake == 0), shares={"composite": 1.0})


def test_there_are_more_faces_than_candidates():
    assert CANDIDATES < 200  # else a test above would not tell random faces from neighbours

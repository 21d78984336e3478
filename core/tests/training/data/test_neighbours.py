"""Faces of similar shape: real ones of other groups only, one of each, and the right ones."""

import numpy as np
import pytest

from deepfake_core.data.crops import neighbours
from deepfake_core.data.crops.neighbours import COUNT, write_neighbours


def faces(count, seed=0):
    """Landmarks of shapes that vary in six ways, as shares of pictures whose sides differ."""
    rng = np.random.default_rng(seed)
    mean, ways = rng.normal(size=60), rng.normal(size=(6, 60)) * 0.1
    shape = (mean + rng.normal(size=(count, 6)) @ ways).reshape(count, 30, 2)
    sizes = rng.integers(100, 300, (count, 2)).astype(np.uint16)
    return shape, (100 + 20 * shape) / sizes[:, None, ::-1], sizes


def written(tmp_path, points, sizes, fake, groups):
    write_neighbours(tmp_path / "n.npy", points.astype(np.float16), sizes, fake, groups)
    return np.load(tmp_path / "n.npy")


@pytest.mark.parametrize("block", [7, 1 << 16])
def test_the_most_similar_real_faces_of_other_groups_are_found(tmp_path, monkeypatch, block):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    shape, points, sizes = faces(300)
    rng = np.random.default_rng(1)
    fake = (rng.random(300) < 0.2).astype(np.int8)
    groups = np.repeat(np.arange(150), 2).astype(np.int32)
    points[[3, 50]] = np.nan
    found = written(tmp_path, points, sizes, fake, groups)
    assert (found.shape, found.dtype) == ((300, COUNT), np.int32)
    usable = np.flatnonzero((fake == 0) & ~np.isnan(points[:, 0, 0]))
    assert (found[np.setdiff1d(np.arange(300), usable)] == -1).all()
    normed = shape - shape.mean(1, keepdims=True)
    normed /= np.linalg.norm(normed, axis=(1, 2), keepdims=True)
    agreed = []
    for row in usable:
        assert (found[row] >= 0).all()
        assert np.isin(found[row], usable).all()
        assert len(np.unique(groups[found[row]])) == COUNT
        assert groups[row] not in groups[found[row]]
        order = usable[np.argsort(np.linalg.norm(normed[usable] - normed[row], axis=(1, 2)))]
        order = order[groups[order] != groups[row]]
        exact = order[np.sort(np.unique(groups[order], return_index=True)[1])][:COUNT]
        agreed.append(np.isin(exact, found[row]).mean())
    assert np.mean(agreed) > 0.9  # landmarks are kept as float16


def test_the_frames_of_one_video_do_not_fill_the_list(tmp_path):
    pytest.importorskip("sklearn")
    _, points, sizes = faces(500)
    groups = np.concatenate([np.zeros(400), np.arange(1, 101)]).astype(np.int32)
    points[:400], sizes[:400] = points[:1], sizes[:1]
    found = written(tmp_path, points, sizes, np.zeros(500, np.int8), groups)
    assert (found >= 0).all()
    assert (groups[found[:400]] > 0).all()
    assert ((groups[found] == 0).sum(1) <= 1).all()


@pytest.mark.parametrize("real", [0, 1, 2, 5])
def test_few_faces_have_few_neighbours(tmp_path, real):
    pytest.importorskip("sklearn")
    _, points, sizes = faces(6)
    fake = (np.arange(6) >= real).astype(np.int8)
    found = written(tmp_path, points, sizes, fake, np.arange(6, dtype=np.int32))
    for row in range(6):
        others = [other for other in range(real) if other != row] if row < real else []
        assert sorted(found[row][found[row] >= 0].tolist()) == others
        assert (found[row][len(others) :] == -1).all()

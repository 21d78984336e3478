"""Tests of the search for leaks between splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_core.data.leaks import find_leaks, near_duplicates
from deepfake_core.datasets import Sample


def sample(name: str, split: str, group: str, *identities: str) -> Sample:
    return Sample(Path(name), False, "s", group, split, identities)


def test_groups_identities_and_files_in_two_splits_are_named():  # resolution 7
    samples = [
        sample("a.jpg", "train", "g1", "anna"),
        sample("b.jpg", "test", "g1"),
        sample("c.jpg", "valid", "g2", "bob", "anna"),
        sample("d.jpg", "test", "g3"),
        sample("e.jpg", "", "g3", "bob"),
        sample("f.jpg", "train", "g4"),
    ]
    leaks = find_leaks(samples, ["0", "1", "2", "3" * 64, "4", "3" * 64])
    assert [(leak.kind, leak.name, leak.places) for leak in leaks] == [
        ("group", "g1", {"train": "a.jpg", "test": "b.jpg"}),
        ("identity", "anna", {"train": "a.jpg", "valid": "c.jpg"}),
        ("bytes", "3" * 16, {"test": "d.jpg", "train": "f.jpg"}),
    ]
    assert str(leaks[0]) == "group g1 (train: a.jpg, test: b.jpg)"
    assert not find_leaks(samples[3:])


def brute_force(hashes, splits, distance):
    seen = {}
    for row, key in enumerate(zip(hashes.tolist(), splits.tolist(), strict=True)):
        if key[1] >= 0:
            seen.setdefault(key, row)
    entries = list(seen.items())
    found = set()
    for index, ((a, split), row) in enumerate(entries):
        for (b, other), later in entries[index + 1 :]:
            if split != other and (a ^ b).bit_count() <= distance:
                found.add((row, later, (a ^ b).bit_count()))
    return found


@given(st.integers(0, 2**32), st.integers(0, 8), st.integers(1, 60))
def test_near_duplicates_are_those_of_brute_force(seed, distance, count):
    rng = np.random.default_rng(seed)
    # Some original hashes, and copies with some bits changed.
    originals = rng.integers(0, 2**64, max(1, count // 6), np.uint64)
    hashes = rng.choice(originals, count)
    for _ in range(6):
        hashes ^= np.where(rng.random(count) < 0.5, np.uint64(1) << rng.integers(0, 64, count, np.uint64), 0).astype(
            np.uint64
        )
    splits = rng.integers(-1, 3, count)
    found = near_duplicates(hashes, splits, distance)
    assert {tuple(row) for row in found.tolist()} == brute_force(hashes, splits, distance)
    assert len(found) == len({tuple(row) for row in found.tolist()})


def test_near_duplicates_among_very_many_are_found():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, np.uint64)
    splits = np.repeat([0, 1], 50_000)
    hashes[70_000:70_010] = hashes[:10] ^ np.uint64(0b1000000000100000001)
    found = near_duplicates(hashes, splits, 3)
    assert found.tolist() == [[row, 70_000 + row, 3] for row in range(10)]


def test_similar_portraits_are_not_all_compared_with_each_other(monkeypatch):
    def similar(count):
        rng = np.random.default_rng(0)
        hashes = np.full(count, 0x0123456789ABCDEF, np.uint64)
        for _ in range(12):
            hashes ^= np.uint64(1) << rng.integers(0, 64, count, np.uint64)
        return hashes, rng.integers(0, 2, count)

    few = similar(400)
    assert {tuple(row) for row in near_duplicates(*few).tolist()} == brute_force(*few, 3)
    compared = []
    bitwise_count = np.bitwise_count
    monkeypatch.setattr(np, "bitwise_count", lambda values: compared.append(values.size) or bitwise_count(values))
    near_duplicates(*similar(20_000))
    assert sum(compared) < 20_000 * 20_000 / 2 / 200


def test_perceptual_hashes_know_a_picture_again():
    pytest.importorskip("imagehash")
    import io

    from PIL import Image

    from deepfake_core.data.inspect import phash

    path = Path(__file__).parents[3] / "benchmarks" / "deepfake_bench" / "data" / "portrait.jpg"
    portrait = Image.open(path).convert("RGB")
    buffer = io.BytesIO()
    portrait.resize((portrait.width // 2, portrait.height // 2)).save(buffer, "JPEG", quality=60)
    smaller = Image.open(buffer)
    other = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    first, second, third = (phash(np.asarray(image)) for image in (portrait, smaller, other))
    assert (first ^ second).bit_count() <= 3
    assert (first ^ third).bit_count() > 10

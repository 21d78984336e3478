"""Tests of splits that share no video and no person."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_core.data.splits import complete_splits, divide, families, held_out, subset_by_group
from deepfake_core.errors import TrainingDataError

SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
NAMES = st.sampled_from([f"s/{index}" for index in range(12)])
ROWS = st.lists(st.tuples(NAMES, st.lists(st.sampled_from("abcdefgh"), max_size=2)), min_size=1, max_size=30)


def face_swaps() -> tuple[list[str], list[tuple[str, ...]], list[str]]:
    """Return groups, identities and sources of a made dataset: face swaps, photographs of persons, single pictures."""
    rows: list[tuple[str, tuple[str, ...], str]] = []
    for first in range(0, 60, 2):
        a, b = f"{first:03d}", f"{(first * 7 + 3) % 60:03d}"
        rows += [(f"ff/youtube_{a}_0", (a,), "ff")] * 2
        rows += [(f"ff/Deepfakes_{a}_{b}_0", (a, b), "ff")] * 2
        rows += [(f"ff/FaceSwap_{b}_{a}_1", (b, a), "ff")] * 2
    rows += [(f"lfw/Person_{index // 2:04d}", (), "lfw") for index in range(40)]
    rows += [(f"gan/{index:05d}", (), "gan") for index in range(15)]
    groups, identities, sources = zip(*rows, strict=True)
    return list(groups), list(identities), list(sources)


def test_the_validation_split_is_the_same_in_every_version():
    groups, identities, sources = face_swaps()
    family = families(groups, identities)
    assert len(set(family)) == 65
    assert np.flatnonzero(held_out(family, sources, 0.15)).tolist() == [
        *range(12), *range(42, 54), *range(60, 66), *range(96, 102), *range(108, 114), *range(138, 144),
        *range(180, 184), 204, 205, 220, 223, 226,
    ]  # fmt: skip


def test_a_family_is_on_the_same_side_whatever_else_is_there():
    names = [f"gan/{index}" for index in range(3000)] + [f"swap/{index}" for index in range(1000)]
    source = ["gan"] * 3000 + ["swap"] * 1000
    alone = held_out(names[:1500], source[:1500], 0.1)
    assert held_out(names, source, 0.1)[:1500].tolist() == alone.tolist()
    assert 0.08 < alone.mean() < 0.12
    assert not np.any(alone & ~held_out(names[:1500], source[:1500], 0.2))


@pytest.mark.parametrize(("count", "share", "held"), [(1, 0.9, 0), (2, 0.001, 1), (2, 0.999, 1), (3, 0.999, 2)])
def test_a_source_is_on_both_sides_if_it_has_two_families(count, share, held):
    names = [f"s/{index}" for index in range(count)]
    assert held_out(names, ["s"] * count, share).sum() == held


@given(ROWS)
def test_families_are_the_connected_groups(rows):
    groups = [group for group, _ in rows]
    found = families(groups, [identities for _, identities in rows])
    # Brute force: spread the smallest label until nothing changes.
    label = list(range(len(rows)))
    for _ in rows:
        for i, (group, identities) in enumerate(rows):
            for j, (other, others) in enumerate(rows):
                if group == other or set(identities) & set(others):
                    label[i] = label[j] = min(label[i], label[j])
    expected = defaultdict(list)
    for row, number in enumerate(label):
        expected[number].append(row)
    for members in expected.values():
        assert {found[row] for row in members} == {max(groups[row] for row in members)}
    assert len(set(found)) == len(expected)


@given(ROWS, st.randoms())
def test_families_do_not_depend_on_the_order_of_rows(rows, random):
    def by_group(rows):
        groups = [group for group, _ in rows]
        return dict(zip(groups, families(groups, [identities for _, identities in rows]), strict=True))

    expected = by_group(rows)
    random.shuffle(rows)
    assert by_group(rows) == expected


@given(ROWS, st.integers(0, 5))
def test_no_family_is_ever_divided(rows, seed):  # 003-8, resolution 7
    groups = [group for group, _ in rows]
    family = families(groups, [identities for _, identities in rows])
    sources = [("x", "y")[index % 2] for index in range(len(rows))]
    sides = (held_out(family, sources, 0.3).tolist(), divide(family, sources, SHARES, seed=seed))
    kept = set(subset_by_group(family, 0.5, seed).tolist())
    for side in (*sides, [row in kept for row in range(len(rows))]):
        assert all(len({side[row] for row in range(len(rows)) if family[row] == name}) == 1 for name in family)


def test_every_source_and_class_gets_its_share():  # 003-8
    family = [f"{index // 4}" for index in range(1200)]
    strata = [("abc"[index // 400], index // 4 % 2) for index in range(1200)]
    splits = divide(family, strata, SHARES)
    for stratum in set(strata):
        counts = Counter(split for split, other in zip(splits, strata, strict=True) if other == stratum)
        assert {split: counts[split] / 200 for split in SHARES} == pytest.approx(SHARES, abs=0.02)
    assert divide(family, strata, SHARES) == splits
    assert divide(family, strata, SHARES, seed=1) != splits


def test_one_huge_family_does_not_fill_a_small_split():
    family = ["huge"] * 500 + [f"{index}" for index in range(500)]
    splits = divide(family, ["s"] * 1000, SHARES)
    assert splits[0] == "train"
    assert Counter(splits) == {"train": 700, "valid": 150, "test": 150}


@pytest.mark.parametrize("shares", [{"train": 0.5, "valid": 0.1}, {"train": 1.5, "valid": -0.5}])
def test_shares_that_make_no_whole_are_refused(shares):
    with pytest.raises(ValueError, match="add up to 1"):
        divide(["a"], ["s"], shares)


def test_splits_that_the_dataset_brings_are_kept():
    family = [f"{index}" for index in range(100)] + ["0"]
    given = ["test"] * 20 + ["train"] * 30 + [""] * 51
    splits = complete_splits(family, ["s"] * 101, given, {"valid": 0.25, "test": 0.1}, seed=0)
    assert [row for row, split in enumerate(splits) if split == "test"] == [*range(20), 100]
    assert Counter(splits[20:100]) == {"train": 60, "valid": 20}
    whole = ["train", "valid", "test"]
    assert complete_splits(whole, ["s"] * 3, whole, {"valid": 0.5, "test": 0.5}, seed=0) == whole


def test_splits_of_the_dataset_that_leak_are_refused():
    with pytest.raises(TrainingDataError, match=r"'a' is in 'train' and in 'test'.*--ignore-splits"):
        complete_splits(["a", "a"], ["s", "s"], ["train", "test"], {"valid": 0.1}, seed=0)


def test_a_part_of_the_data_is_whole_groups():  # 004-11
    family = [f"{index // 7}" for index in range(7000)]
    strata = [("real", "fake")[index // 7 % 2] for index in range(7000)]
    rows = subset_by_group(family, 0.2, seed=3, strata=strata)
    assert len(rows) == pytest.approx(1400, abs=14)
    assert Counter(strata[row] for row in rows)["fake"] == pytest.approx(700, abs=7)
    assert {len([row for row in rows if family[row] == family[first]]) for first in rows[:20]} == {7}
    assert set(rows) < set(subset_by_group(family, 0.4, seed=3, strata=strata))
    assert set(rows) != set(subset_by_group(family, 0.2, seed=4, strata=strata))
    assert len(subset_by_group(family, 1.0)) == 7000
    with pytest.raises(ValueError, match="share"):
        subset_by_group(family, 0.0)

"""Grouping by a value: the same rows as a mask for each value, in one pass."""

from __future__ import annotations

import numpy as np

from deepfake_core.evaluation.grouping import codes, places, places_by_source


def test_places_are_those_of_a_mask_for_each_value():
    values = np.array(["b", "a", "b", "ä", "a", "b"])
    found = places(values)
    assert list(found) == ["a", "b", "ä"]
    for value, here in found.items():
        np.testing.assert_array_equal(here, np.flatnonzero(values == value))
    assert places(np.array([], dtype=str)) == {}


def test_the_parts_of_a_collection_are_measured_with_its_real_samples():
    source = np.array(["ff", "ff/a", "ff/b", "ff", "alone"])
    found = places_by_source(source, [0, 1, 1, 0, 1])
    assert {name: here.tolist() for name, here in found.items()} == {
        "alone": [4], "ff": [0, 3], "ff/a": [0, 3, 1], "ff/b": [0, 3, 2]
    }  # fmt: skip


def test_codes_rank_names_as_numpy_does():
    names = ["video_10", "video_9", "", "b/ü", "video_10", "B"]
    np.testing.assert_array_equal(codes(names), np.unique(names, return_inverse=True)[1])
    assert codes([]).shape == (0,)


def test_values_are_compared_once_however_many_there_are():
    class Counted(str):
        __slots__ = ()
        compared = 0

        def __eq__(self, other):
            Counted.compared += 1
            return str.__eq__(self, other)

        def __hash__(self):
            return str.__hash__(self)

    counts = []
    for size in (1000, 4000):
        Counted.compared = 0
        codes([Counted(f"source {number // 2}") for number in range(size)])
        counts.append(Counted.compared)
    assert counts[1] <= 5 * counts[0]


def test_fakes_alone_stand_beside_the_real_samples_that_are_named_unless_their_collection_has_some():
    source, fake = ["c/real", "c/swap", "x", "y", "made", "made", "alone"], [0, 1, 0, 0, 1, 1, 1]
    beside = {"made": ("y", "x", "nowhere"), "c/swap": ("x",), "alone": ("nowhere",)}
    found = {name: here.tolist() for name, here in places_by_source(source, fake, beside).items()}
    assert found["made"] == [3, 2, 4, 5]
    assert found["c/swap"] == [0, 1]
    assert found["alone"] == [6]
    assert found["x"] == [2]

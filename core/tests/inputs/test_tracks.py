"""Tests of following faces through the frames of a clip."""

import pytest

from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.inputs.tracks import follow

SIZE = (100, 200)


def face(x, y=20.0, side=40.0, confidence=0.9):
    return Face(Box(x, y, side, side), confidence)


def lefts(track):
    return [box.x for box in track.boxes]


def test_two_faces_keep_apart_whatever_their_order():
    frames = [[face(10 + 5 * n), face(120 - 5 * n)] for n in range(4)]
    frames[2].reverse()
    found = follow(frames, [SIZE] * 4)
    assert sorted(lefts(track) for track in found) == [
        pytest.approx([10, 15, 20, 25]),
        pytest.approx([120, 115, 110, 105]),
    ]


def test_a_face_that_is_missed_keeps_a_box_between_its_neighbours():
    (track,) = follow([[face(10)], [face(10)], [], [], [face(25, 20)], []], [SIZE] * 6)
    assert lefts(track) == pytest.approx([10, 10, 15, 20, 25, 25])


def test_what_is_seen_in_less_than_half_of_the_frames_is_dropped():
    half = [[face(10)], [face(10)], [], []]
    less = [[face(10)], [], [], []]
    assert len(follow(half, [SIZE] * 4)) == 1
    assert follow(less, [SIZE] * 4) == []
    assert follow([[], []], [SIZE] * 2) == []


def test_boxes_follow_a_change_of_resolution():
    small, large = (100, 200), (300, 400)
    (track,) = follow([[face(20)], [Face(Box(40, 60, 80, 120), 0.7)], []], [small, large, small])
    assert lefts(track) == pytest.approx([20, 40, 20])
    assert [box.width for box in track.boxes] == pytest.approx([40, 80, 40])
    assert [box.height for box in track.boxes] == pytest.approx([40, 120, 40])
    assert track.confidence == pytest.approx(0.8)


def test_a_jump_is_another_face():
    found = follow([[face(0)], [face(0)], [face(150)], [face(150)]], [SIZE] * 4)
    assert [lefts(track) for track in found] == [pytest.approx([0] * 4), pytest.approx([150] * 4)]


def test_a_crowd_is_followed_without_looking_at_every_pair_alone():
    crowd = [Face(Box(x, y, 9, 9), 0.9) for x in range(0, 250, 10) for y in range(0, 250, 10)]
    found = follow([crowd, crowd[::-1], crowd], [(300, 300)] * 3)
    places = sorted((round(track.boxes[0].x), round(track.boxes[0].y)) for track in found)
    assert places == [(face.box.x, face.box.y) for face in crowd]
    assert all(track.found == 3 and len(set(track.boxes)) == 1 for track in found)

from __future__ import annotations

import hashlib
import os
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import cv2
import numpy as np
import pytest
from media import PORTRAIT, ROOT, blocks

from deepfake_core.inputs import faces
from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.faces import FaceFinder

DATA = ROOT.parent / "shared" / "data" / "train"


@pytest.fixture(scope="module")
def portrait():
    return decode(PORTRAIT).pixels


@pytest.fixture(scope="module")
def face(portrait):
    (found,) = FaceFinder().find(portrait)
    return found


def centre(box):
    return box.x + box.width / 2, box.y + box.height / 2


def test_the_weights_are_the_published_ones():
    data = resources.files("deepfake_core.inputs").joinpath("weights", faces.WEIGHTS).read_bytes()
    assert hashlib.sha256(data).hexdigest() == "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"


def test_a_portrait_has_one_face_with_its_landmarks(face, portrait):
    assert face.confidence > 0.9
    assert len(face.landmarks) == 5
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    assert all(face.box.x < x < face.box.x + face.box.width for x, _ in face.landmarks)


@pytest.mark.parametrize("factor", [0.25, 0.5, 3.0, 6.0])
def test_boxes_are_in_pixels_of_the_picture_given(face, portrait, factor):
    scaled = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    (found,) = FaceFinder().find(scaled)
    assert centre(found.box) == pytest.approx([value * factor for value in centre(face.box)], abs=max(2.5, 6 * factor))
    assert found.box.height == pytest.approx(face.box.height * factor, rel=0.12)


@pytest.mark.parametrize("side", [48, 250, 600, 1500])
@pytest.mark.parametrize("tightness", [1.2, 1.0, 0.8])
def test_a_face_that_fills_the_picture_is_found(face, portrait, side, tightness):
    x, y = centre(face.box)
    half = max(face.box.width, face.box.height) * tightness / 2
    tight = portrait[round(y - half) : round(y + half), round(x - half) : round(x + half)]
    (found,) = FaceFinder().find(cv2.resize(tight, (side, side), interpolation=cv2.INTER_CUBIC))
    assert centre(found.box) == pytest.approx((side / 2, side / 2), abs=side * 0.12)
    assert found.box.height > side * 0.7


def test_several_faces_come_most_confident_first(portrait):
    pair = np.hstack([portrait, cv2.GaussianBlur(portrait, (0, 0), 4)])
    found = FaceFinder().find(pair)
    assert len(found) == 2
    assert found[0].confidence >= found[1].confidence


@pytest.mark.parametrize("size", [(1, 1), (1, 60000), (60000, 1), (7, 5), (300, 300), (2000, 90)])
def test_pictures_without_a_face(size):
    assert FaceFinder().find(np.full((*size, 3), 90, np.uint8)) == []
    assert FaceFinder().find(blocks(640, 480)) == []


@pytest.mark.parametrize("size", [(2000, 90), (24, 400), (200, 20)])
def test_no_strip_is_searched_of_which_opencv_reads_what_was_never_written(size, monkeypatch):
    finder, searched = FaceFinder(), []
    monkeypatch.setattr(finder, "_detector", lambda: Detector(searched))
    assert finder.find(np.full((*size, 3), 90, np.uint8)) == []
    assert searched
    assert min(map(min, searched)) >= 64


class Detector:
    """Detector that keeps the sizes it is given, and finds nothing."""

    def __init__(self, searched):
        self.searched = searched

    def setInputSize(self, size):
        self.searched.append(size)

    def detect(self, _pixels):
        return 0, None


def test_uncertain_bystanders_are_dropped():
    def a_face(side, confidence):
        return Face(Box(0, 0, side, side), confidence)

    large, small_sure, small_unsure, similar = a_face(100, 0.9), a_face(30, 0.9), a_face(30, 0.7), a_face(60, 0.7)
    assert faces._without_uncertain([large, small_sure, small_unsure, similar]) == [large, small_sure, similar]
    assert faces._without_uncertain([small_unsure]) == [small_unsure]
    assert faces._without_uncertain([]) == []


def test_one_finder_serves_many_threads(portrait):
    finder = FaceFinder()
    scales = [0.4, 0.6, 0.8, 1.0] * 4
    pictures = [cv2.resize(portrait, None, fx=s, fy=s, interpolation=cv2.INTER_AREA) for s in scales]
    alone = [finder.find(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(finder.find, pictures)) == alone


def test_a_finder_can_be_sent_to_a_worker(portrait):
    finder = FaceFinder(min_confidence=0.7, max_side=320)
    expected = finder.find(portrait)
    copy = pickle.loads(pickle.dumps(finder))
    assert (copy.min_confidence, copy.max_side) == (0.7, 320)
    assert copy.find(portrait) == expected


@pytest.mark.skipif(not DATA.is_dir() and "CI" not in os.environ, reason=f"no pictures at {DATA}")
@pytest.mark.parametrize(
    "source", ["all_age_faces", "lfw", "stylegan_ffhq", "studio_generated", "faceforensics_sequences"]
)
def test_faces_are_found_in_real_pictures(source):
    files = sorted(path for path in (DATA / source).rglob("*") if path.suffix in (".jpg", ".png"))
    assert files
    sample = random.Random(0).sample(files, 40)
    finder = FaceFinder()
    missed = [path.name for path in sample if not finder.find(decode(path).pixels)]
    assert not missed


def test_what_is_dropped_is_counted(portrait, monkeypatch):
    finder = FaceFinder()
    found = finder.search(portrait)
    assert (len(found.faces), found.tiny, found.uncertain, found.is_crowd) == (1, 0, 0, False)
    sides = [(100, 0.9), (40, 0.9), (30, 0.7), (12, 0.9), *[(9, 0.9)] * 5]
    monkeypatch.setattr(finder, "_detect", lambda *args, **more: [Face(Box(0, 0, *[s] * 2), c) for s, c in sides])
    found = finder.search(portrait)
    assert [face.box.width for face in found.faces] == [100, 40]
    assert (found.tiny, found.uncertain, found.is_crowd) == (6, 1, True)

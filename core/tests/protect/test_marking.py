"""The mark of protected faces: read after what pictures undergo, never read where it is not, and faint."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.handle.mark import MARGIN, MARKED, key, protected_faces, strength
from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.inputs.crop import crop_face, prepare_crop
from deepfake_core.inputs.prepare import Prepared, Preparer
from deepfake_core.protect.image_metrics import psnr, ssim
from deepfake_core.protect.marking import add_marks, carries_mark
from deepfake_registry.manifest import Clip, FaceCrop, Normalize, PreprocessSpec, Resize, WholeImage

PORTRAIT = Path(__file__).parents[3] / "benchmarks" / "deepfake_bench" / "data" / "portrait.jpg"


def spec(margin: float = 1.3, side: int = 224) -> PreprocessSpec:
    half = (0.5, 0.5, 0.5)
    return PreprocessSpec(
        crop=FaceCrop(margin=margin), resize=Resize(height=side, width=side), normalize=Normalize(mean=half, std=half)
    )


def marked(pixels, boxes, most=7):
    field = np.zeros(pixels.shape, np.float32)
    add_marks(field, pixels, boxes, most)
    change = np.clip(np.round(255 * field), -most, most)
    return np.clip(pixels + change, 0, 255).astype(np.uint8)


def jpeg(pixels, quality=75):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality)
    with Image.open(io.BytesIO(data.getvalue())) as image:
        return np.asarray(image)


def resized(pixels, factor):
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def cut(pixels):
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(pixels[height // 25 :, : width - width // 12])


WAYS = {
    "as it is": lambda pixels: pixels,
    "JPEG 75": jpeg,
    "half size": lambda pixels: resized(pixels, 0.5),
    "twice the size": lambda pixels: cv2.resize(pixels, None, fx=2, fy=2),
    "cropped": cut,
    "cropped, JPEG 75": lambda pixels: jpeg(cut(pixels)),
    "darker": lambda pixels: (pixels * 0.7).astype(np.uint8),
}


@pytest.fixture(scope="module")
def portrait():
    with Image.open(PORTRAIT) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def protected(portrait):
    return marked(portrait, [face.box for face in Preparer(spec()).prepare(portrait).faces])


@pytest.mark.parametrize("way", WAYS)
def test_it_is_read_after_what_pictures_undergo(portrait, protected, way):
    for pixels, wanted in ((portrait, (False,)), (protected, (True,))):
        prepared = Preparer(spec()).prepare(WAYS[way](pixels))
        assert protected_faces(prepared, spec()) == wanted


@pytest.mark.parametrize(("margin", "side"), [(1.0, 112), (1.3, 380), (1.8, 256), (2.6, 224)])
def test_every_crop_of_a_detector_shows_it(portrait, protected, margin, side):
    for pixels, wanted in ((portrait, (False,)), (protected, (True,))):
        assert protected_faces(Preparer(spec(margin, side)).prepare(pixels), spec(margin, side)) == wanted


def test_it_is_faint(portrait, protected):
    assert np.abs(protected.astype(int) - portrait).max() <= 7
    assert psnr(portrait, protected) > 40
    assert ssim(portrait, protected) > 0.99


def test_it_is_never_read_where_it_is_not():
    rng = np.random.default_rng(0)
    box = Box(60, 60, 160, 200)
    pictures = [draw_face(seed) for seed in range(20)]
    pictures += [rng.integers(0, 256, (320, 300, 3), np.uint8) for _ in range(20)]
    # Patterns with few frequencies, whose phases agree most easily.
    x = np.arange(320)
    for period in (3, 5, 8, 13, 21):
        wave = (127 + 120 * np.sin(2 * np.pi * x / period)).astype(np.uint8)
        plane = np.broadcast_to(wave, (320, 320))
        pictures += [np.stack([one] * 3, axis=2) for one in (plane, plane.T, (plane // 2 + plane.T // 2))]
    pictures += [np.full((320, 320, 3), 128, np.uint8)]
    found = [strength(crop_face(np.ascontiguousarray(one), box, FaceCrop(margin=1.3)), 1.3, 200) for one in pictures]
    assert max(found) < MARKED - 1.5


def test_the_key_never_changes():
    """Pictures that are protected stay protected: a reader of a later release has the same key."""
    phases = np.angle(key(1000.0))
    assert np.count_nonzero(key(1000.0)) == 1660
    assert phases[[34, 50, 10], [20, 3, 15]] == pytest.approx((1.1982307, -1.0829905, 1.1739748), abs=1e-4)


def test_a_face_that_is_too_small_carries_none(portrait):
    assert strength(np.zeros((20, 20, 3), np.uint8), MARGIN, 15) == 0
    assert not carries_mark(resized(portrait, 0.05), Box(2, 2, 8, 10))


def test_clips_are_read_and_whole_pictures_are_not(portrait, protected):
    face = Preparer(spec()).prepare(portrait).faces[0]
    clips = [np.stack([prepare_crop(pixels, face.box, spec())] * 3) for pixels in (portrait, protected)]
    takes_clips = spec().model_copy(update={"clip": Clip(length=3)})
    prepared = Prepared("x", 1, 1, "video", np.stack(clips), (face, face), (0.0, 1.0), 6, "", {})
    assert protected_faces(prepared, takes_clips) == (False, True)
    whole = spec().model_copy(update={"crop": WholeImage()})
    prepared = Prepared("x", 1, 1, "RGB", np.stack([clips[1][0]]), (Face(Box(0, 0, 9, 9), 1.0),), (None,), 1, "", {})
    assert protected_faces(prepared, whole) == (False,)


def test_every_face_gets_its_own(portrait):
    two = np.concatenate([portrait, portrait[:, ::-1]], axis=1)
    boxes = [face.box for face in Preparer(spec()).prepare(two).faces]
    assert len(boxes) == 2
    assert [carries_mark(marked(two, boxes[:1]), box) for box in boxes] == [True, False]
    assert [carries_mark(marked(two, boxes), box) for box in boxes] == [True, True]

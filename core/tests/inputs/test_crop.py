from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import blocks
from PIL import Image

from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.crop import crop_face, crop_side, prepare_crop, resize, scale_box
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize, WholeImage

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
NORMALIZE = Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def spec(crop=None, height=32, width=32):
    return PreprocessSpec(crop=crop or FaceCrop(), resize=Resize(height=height, width=width), normalize=NORMALIZE)


def test_the_square_is_centred_with_the_margin_of_the_longer_side():
    square = crop_face(PICTURE, Box(30, 20, 10, 20), FaceCrop(margin=1.5))
    assert np.array_equal(square, PICTURE[15:45, 20:50])


@pytest.mark.parametrize(
    ("border", "opencv"),
    [
        ("reflect", cv2.BORDER_REFLECT_101),
        ("replicate", cv2.BORDER_REPLICATE),
        ("constant", cv2.BORDER_CONSTANT),
    ],
)
@pytest.mark.parametrize("corner", [(-20, -15), (60, 45), (-30, 30), (-5, -5)])
def test_borders_agree_with_opencv(border, opencv, corner):
    box = Box(*corner, 40, 30)
    padded = cv2.copyMakeBorder(PICTURE, 200, 200, 200, 200, opencv)
    square = crop_face(PICTURE, box, FaceCrop(margin=2.0, border=border))
    top, left = corner[1] + 15 - 40 + 200, corner[0] + 20 - 40 + 200
    assert np.array_equal(square, padded[top : top + 80, left : left + 80])


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
def test_resize_with_antialias_averages_and_without_it_samples(interpolation):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    small = Resize(height=8, width=16, interpolation=interpolation)
    smooth = resize(stripes, small)
    assert smooth.shape == (8, 16, 3)
    if interpolation != "nearest":
        assert np.abs(smooth.astype(int) - 100).max() <= 40
        expected = Image.fromarray(stripes).resize(
            (16, 8), getattr(Image.Resampling, "BOX" if interpolation == "area" else interpolation.upper())
        )
        assert np.array_equal(smooth, np.asarray(expected))
    rough = resize(stripes, small.model_copy(update={"antialias": False}))
    kernel = getattr(cv2, {"bilinear": "INTER_LINEAR", "bicubic": "INTER_CUBIC", "lanczos": "INTER_LANCZOS4"}.get(
        interpolation, f"INTER_{interpolation.upper()}"))  # fmt: skip
    assert np.array_equal(rough, cv2.resize(stripes, (16, 8), interpolation=kernel))


def test_resize_to_the_same_size_changes_nothing():
    assert np.array_equal(resize(PICTURE, Resize(height=60, width=80)), PICTURE)


def test_whole_image_and_no_box_take_the_whole_picture():
    expected = resize(PICTURE, Resize(height=20, width=40))
    assert np.array_equal(prepare_crop(PICTURE, None, spec(height=20, width=40)), expected)
    assert np.array_equal(prepare_crop(PICTURE, Box(1, 2, 3, 4), spec(WholeImage(), 20, 40)), expected)


def test_a_golden_crop():
    """Trained weights depend on the resampling of Pillow and OpenCV, so a change in it must be noticed."""
    crop = prepare_crop(blocks(200, 160), Box(90.4, 60.6, 61.3, 80.2), spec(height=8, width=8))
    assert crop[..., 0].tolist() == [
        [70, 198, 170, 137, 104, 70, 52, 100],
        [103, 130, 142, 143, 117, 58, 35, 172],
        [108, 87, 150, 184, 152, 86, 45, 103],
        [108, 63, 159, 213, 164, 96, 48, 76],
        [97, 62, 171, 221, 122, 54, 29, 168],
        [73, 55, 111, 144, 125, 64, 28, 108],
        [67, 47, 61, 84, 143, 93, 45, 50],
        [147, 37, 75, 127, 217, 188, 141, 70],
    ]


@pytest.mark.parametrize("box", [Box(0, 0, 0, 5), Box(0, 0, 5, -1), Box(float("nan"), 0, 5, 5), Box(0, 0, 1e400, 5)])
def test_boxes_that_mean_nothing(box):
    with pytest.raises(ValueError, match="face box"):
        prepare_crop(PICTURE, box, spec())


coordinate = st.floats(-1e6, 1e6)
length = st.floats(1e-3, 1e6)


@settings(max_examples=200, deadline=None)
@given(
    st.builds(Box, coordinate, coordinate, length, length),
    st.floats(0.51, 4.0),
    st.sampled_from(["reflect", "replicate", "constant"]),
    st.sampled_from([(1, 1), (1, 300), (60, 80), (300, 7)]),
)
def test_any_box_gives_the_networks_input(box, margin, border, size):
    picture = blocks(size[1], size[0])
    crop = prepare_crop(picture, box, spec(FaceCrop(margin=margin, border=border), 24, 32))
    assert crop.shape == (24, 32, 3)
    assert crop.dtype == np.uint8
    assert crop.flags.c_contiguous


def test_a_huge_box_takes_little_memory():
    tracemalloc.start()
    prepare_crop(PICTURE, Box(-4e5, -4e5, 1e6, 1e6), spec(FaceCrop(margin=4.0)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_large_border_is_filled_alike_at_either_scale():
    smooth = cv2.GaussianBlur(blocks(200, 200), (0, 0), 30)
    # Just below and just above the size at which the border is filled at a reduced scale.
    below, above = (prepare_crop(smooth, Box(100 - s / 2, 100 - s / 2, s, s), spec()) for s in (306, 309))
    assert np.abs(below.astype(int) - above).mean() < 3


def test_crop_side_and_scaled_boxes():
    assert crop_side(Box(0, 0, 10, 20), FaceCrop(margin=1.3)) == 26
    assert scale_box(Box(1, 2, 3, 4), 2, 0.5) == Box(2, 1, 6, 2)

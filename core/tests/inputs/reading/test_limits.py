"""Large files: how much of them is decoded."""

from __future__ import annotations

import io

import numpy as np
import pytest
from media import blocks, encoded
from PIL import Image

from deepfake_core.errors import DeepfakeError, InputError
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.reading.limits import LIMIT_VARIABLE, MAX_PIXELS, pixel_limit
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize

SPEC = PreprocessSpec(resize=Resize(height=32, width=32), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3))
PICTURE = blocks(640, 481)
PIXELS = 640 * 481
JPEG = encoded(PICTURE, "JPEG", quality=90)


@pytest.mark.parametrize(
    ("limit", "scale"), [(PIXELS, 1), (PIXELS - 1, 2), (320 * 241, 2), (320 * 241 - 1, 4), (160 * 121, 4)]
)
def test_a_jpeg_file_is_decoded_at_the_size_that_the_limit_allows(limit, scale):
    picture = decode(JPEG, max_pixels=limit)
    assert picture.pixels.shape == (-(-481 // scale), 640 // scale, 3)
    assert (picture.width, picture.height) == (640, 481)
    small = decode(JPEG, max_pixels=limit, min_side=80)
    assert max(small.pixels.shape) == 80


def test_a_jpeg_file_of_more_than_16_times_the_limit_is_refused_at_any_size():
    for min_side in (None, 10):
        with pytest.raises(InputError, match="640 × 481 pixels, more than the limit of 19,359"):
            decode(JPEG, max_pixels=160 * 121 - 1, min_side=min_side)


@pytest.mark.parametrize("orientation", [1, 6])
def test_faces_of_a_reduced_file_are_in_pixels_of_the_whole(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encoded(PICTURE, "JPEG", exif=exif), max_pixels=PIXELS // 2)
    assert (picture.width, picture.height) == ((640, 481) if orientation == 1 else (481, 640))
    assert picture.scale == pytest.approx(0.5, abs=0.01)


def test_a_progressive_file_is_held_as_a_whole_and_may_be_too_large_for_that():
    data = encoded(PICTURE, "JPEG", progressive=True, subsampling=0)  # held with 6 bytes for each pixel
    assert decode(data, max_pixels=PIXELS).scale == 1
    assert decode(data, max_pixels=PIXELS * 6 // 11 + 1).scale == 0.5
    with pytest.raises(InputError, match=r"progressive JPEG file.*save it as a plain JPEG file, or raise max_pixels"):
        decode(data, max_pixels=PIXELS * 6 // 11 - 1)
    assert decode(encoded(PICTURE, "JPEG", progressive=True), max_pixels=PIXELS * 3 // 11 + 999).scale == 0.5


def test_so_is_a_file_whose_colours_are_stored_one_after_the_other():
    data = bytearray(encoded(PICTURE, "JPEG", subsampling=0))
    start = data.index(b"\xff\xda")
    assert data[start + 4] == 3
    data[start + 2 : start + 14] = bytes((0, 8, 1, 1, 0, 0, 63, 0))  # the first scan has one component
    with pytest.raises(InputError, match="is decoded as a whole"):
        decode(bytes(data), max_pixels=PIXELS // 4)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_other_files_are_refused_with_a_way_out_that_exists(format, monkeypatch):
    data = encoded(PICTURE, format)
    with pytest.raises(InputError, match="reduce it, or raise max_pixels") as caught:
        decode(data, max_pixels=PIXELS - 1)
    assert LIMIT_VARIABLE in str(caught.value)
    assert "limit of 307,839" in Preparer(SPEC, max_pixels=PIXELS - 1).prepare(data).error
    assert Preparer(SPEC, max_pixels=PIXELS).prepare(data).error == ""
    monkeypatch.setenv(LIMIT_VARIABLE, str(PIXELS - 1))
    assert "limit of 307,839" in Preparer(SPEC).prepare(data).error
    assert Preparer(SPEC, max_pixels=PIXELS).prepare(data).error == ""


def test_the_limit_of_the_environment(monkeypatch):
    assert pixel_limit() == MAX_PIXELS == 64_000_000
    monkeypatch.setenv(LIMIT_VARIABLE, "200000000")
    assert pixel_limit() == 200_000_000
    assert pixel_limit(5) == 5
    for wrong in ("many", "0", "-3"):
        monkeypatch.setenv(LIMIT_VARIABLE, wrong)
        with pytest.raises(DeepfakeError, match=f"DEEPFAKE_MAX_PIXELS is '{wrong}'; it must be a whole number"):
            pixel_limit()
    with pytest.raises(DeepfakeError, match="max_pixels is 0"):
        Preparer(SPEC, max_pixels=0)


def test_what_is_decoded_already_has_no_limit():
    image = Image.fromarray(PICTURE)
    for source in (PICTURE, image):
        assert decode(source, max_pixels=100).scale == 1
    lazy = Image.open(io.BytesIO(encoded(PICTURE, "PNG")))
    with pytest.raises(InputError, match="limit of 100"):
        decode(lazy, max_pixels=100)
    assert np.array_equal(decode(lazy).pixels, PICTURE)
    assert decode(lazy, max_pixels=100).scale == 1, "now it is decoded"


def test_a_large_jpeg_file_that_pillow_opened_is_read_reduced_and_left_as_it_was(tmp_path):
    (tmp_path / "large.jpg").write_bytes(JPEG)
    with Image.open(tmp_path / "large.jpg") as image:
        assert decode(image, max_pixels=PIXELS - 1).pixels.shape == (241, 320, 3)
        assert image.tile
        assert np.array_equal(np.asarray(image), decode(JPEG).pixels)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_pillows_own_limit_neither_warns_nor_refuses(format, monkeypatch):
    data = encoded(PICTURE, format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PIXELS // 3)
    if format == "TIFF":
        with pytest.raises(InputError, match="MAX_IMAGE_PIXELS"):
            decode(data)
    else:
        assert decode(data).scale == 1
    monkeypatch.setattr("deepfake_core.inputs.reading.limits.MAX_PIXELS", PIXELS // 2)
    assert decode(data, max_pixels=PIXELS).scale == 1, "a larger limit was asked for"


def test_a_crop_that_lacks_detail_for_the_limit_is_said():
    prepared = Preparer(SPEC.model_copy(update={"crop": _whole()}), max_pixels=160 * 121).prepare(JPEG)
    assert prepared.warnings == ()
    large = SPEC.model_copy(update={"crop": _whole(), "resize": Resize(height=400, width=400)})
    prepared = Preparer(large, max_pixels=160 * 121).prepare(JPEG)
    assert prepared.warnings == ("decoded at 160 × 121 pixels by the limit (max_pixels): small faces lose detail",)


def _whole():
    from deepfake_registry.manifest import WholeImage

    return WholeImage()

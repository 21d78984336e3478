from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import blocks, encoded, grey_frames, video_bytes
from nasty import bomb_gif, bomb_png
from PIL import Image

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import MAX_PIXELS, decode

NOBODY = 65534
PICTURE = blocks()
IMAGE = Image.fromarray(PICTURE)
GREY = np.asarray(IMAGE.convert("L"))
GREY_RGB = np.asarray(IMAGE.convert("L").convert("RGB"))


def difference(pixels, expected):
    assert pixels.shape == expected.shape
    assert pixels.dtype == np.uint8
    return float(np.abs(pixels.astype(int) - expected).mean())


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 2),
        ("JPEG", {"progressive": True, "quality": 95, "subsampling": 0}, 2),
        ("MPO", {"quality": 95, "subsampling": 0}, 2),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("GIF", {}, 0),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, 3),
    ],
)
def test_formats_whatever_their_name(format, options, tolerance, tmp_path):
    path = tmp_path / "портрет 脸 😀.data"
    path.write_bytes(encoded(PICTURE, format, **options))
    picture = decode(path)
    assert difference(picture.pixels, PICTURE) <= tolerance
    assert (picture.width, picture.height, picture.scale) == (320, 240, 1.0)
    assert picture.source == str(path)
    assert np.array_equal(decode(path.read_bytes()).pixels, picture.pixels)
    assert np.array_equal(decode(str(path)).pixels, picture.pixels)


def test_heic():
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    assert difference(decode(encoded(PICTURE, "HEIF", quality=95)).pixels, PICTURE) < 5


def test_heic_without_its_decoder_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"pip install 'deepfake-core\[heif\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


@pytest.mark.parametrize(
    ("image", "format", "expected", "tolerance"),
    [
        (IMAGE.convert("L"), "PNG", GREY_RGB, 0),
        (IMAGE.convert("1"), "PNG", np.asarray(IMAGE.convert("1").convert("RGB")), 0),
        (IMAGE.convert("P"), "PNG", np.asarray(IMAGE.convert("P").convert("RGB")), 0),
        (IMAGE.convert("LA"), "PNG", GREY_RGB, 0),
        (IMAGE.convert("RGBA"), "PNG", PICTURE, 0),
        (IMAGE.convert("CMYK"), "JPEG", PICTURE, 3),  # Adobe writes inverted values
        (IMAGE.convert("CMYK"), "TIFF", PICTURE, 1),
        (IMAGE.convert("YCbCr"), "JPEG", PICTURE, 8),
        (Image.fromarray(GREY.astype(np.uint16) * 257), "PNG", GREY_RGB, 0),
        (Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF", GREY_RGB, 0),
        (Image.fromarray(GREY.astype(np.float32) / 255), "TIFF", GREY_RGB, 0),
        (Image.fromarray(GREY.astype(np.float32)), "TIFF", GREY_RGB, 0),
        (Image.fromarray(GREY.astype(np.int32) * 257), "TIFF", GREY_RGB, 0),
    ],
    ids=lambda value: getattr(value, "mode", None) or (value if isinstance(value, str) else ""),
)
def test_colour_modes(image, format, expected, tolerance):
    assert difference(decode(encoded(image, format)).pixels, expected) <= tolerance


def test_16_bit_rgb_png_keeps_the_high_byte():
    import cv2

    wide = PICTURE[..., ::-1].astype(np.uint16) * 256 + 7
    assert difference(decode(cv2.imencode(".png", wide)[1].tobytes()).pixels, PICTURE) == 0


def test_transparency_lies_on_white():
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[0, 0] = (255, 0, 0, 255)
    for data in (encoded(clear, "PNG"), encoded(clear, "WEBP", lossless=True), encoded(clear, "GIF"), clear):
        pixels = decode(data).pixels
        assert tuple(pixels[0, 0]) == (255, 0, 0)
        assert tuple(pixels[3, 3]) == (255, 255, 255)
    keyed = encoded(Image.fromarray(np.zeros((4, 4, 3), np.uint8)), "PNG", transparency=(0, 0, 0))
    assert decode(keyed).pixels.min() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(format, orientation):
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = 255
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encoded(stored, format, exif=exif))
    assert difference(picture.pixels, upright) < 3
    assert (picture.width, picture.height) == (60, 40)
    if format == "JPEG":
        large = stored.resize((stored.width * 20, stored.height * 20))
        picture = decode(encoded(large, format, exif=exif), min_side=300)
        assert (picture.width, picture.height) == (1200, 800)
        assert picture.pixels.shape == (200, 300, 3)
        assert picture.scale == 0.25


def test_reduced_scale_keeps_the_side_that_was_asked_for():
    data = encoded(blocks(1600, 1200), "JPEG")
    assert decode(data).scale == 1
    for min_side, side in ((1600, 1600), (801, 1600), (800, 800), (399, 400), (1, 200), (5000, 1600)):
        assert max(decode(data, min_side=min_side).pixels.shape) == side
    assert decode(encoded(blocks(1600, 1200), "PNG"), min_side=100).scale == 1


@pytest.mark.parametrize("data", [bomb_png(60000, 60000), bomb_png(9000, 9000), bomb_gif(65535, 65535)])
def test_decompression_bombs_are_refused_by_their_header(data):
    with pytest.raises(InputError, match="limit of 64,000,000"):
        decode(data)


def test_the_pixel_limit_is_the_callers():
    data = encoded(PICTURE, "PNG")
    assert decode(data, max_pixels=320 * 240).width == 320
    with pytest.raises(InputError, match="limit of 76,799"):
        decode(data, max_pixels=320 * 240 - 1)
    assert MAX_PIXELS == 64_000_000


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("GIF", {}),
        ("AVIF", {}),
    ],
)
def test_truncated_files_are_errors_not_grey_pixels(format, options):
    data = encoded(PICTURE, format, **options)
    whole = decode(data).pixels
    for share in (0.05, 0.3, 0.5, 0.8, 0.95, 0.999):
        try:
            pixels = decode(data[: int(len(data) * share)]).pixels
        except InputError:
            continue
        # The lost bytes held no pixels.
        assert np.array_equal(pixels, whole), share


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no bytes"),
        (b"<!doctype html><p>404", "HTML page"),
        (b"\xef\xbb\xbf  <html>", "HTML page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b'{"a": 1}', "JSON"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04....", "ZIP"),
        (b"just words", "text file"),
        ("слова".encode("utf-16"), "text file"),
        (b"ID3\x04....", "audio"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (bytes(100), "unknown format"),
        (b"\xff\xd8\xff\xe0 broken", "damaged or incomplete"),
    ],
)
def test_what_is_not_a_picture_is_named(data, words):
    with pytest.raises(InputError, match=words):
        decode(data)


def test_a_video_is_not_a_picture():
    with pytest.raises(InputError, match="video"):
        decode(video_bytes(grey_frames(3)))


def test_files_that_cannot_be_read(tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    os.mkfifo(tmp_path / "pipe.png")
    for path, words in [
        (tmp_path, "folder"),
        (tmp_path / "gone.png", "no such file"),
        (empty, "0 bytes"),
        (tmp_path / "pipe.png", "not a regular file"),
        ("nul\0byte.png", "cannot be opened"),
        ("x" * 5000, "cannot be opened"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            decode(path)
        assert caught.value.source == str(path)


@pytest.fixture
def locked():
    """Make a file that may not be read; the superuser, who may read every file, acts as another user meanwhile."""
    me = os.geteuid()
    with TemporaryDirectory() as folder:
        path = Path(folder, "locked.png")
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
        path.chmod(0)
        Path(folder).chmod(0o755)
        try:
            os.seteuid(me or NOBODY)
        except OSError:
            pytest.skip("there is no user but the administrator")
        yield path
        os.seteuid(me)


def test_a_file_without_permission(locked):
    with pytest.raises(InputError, match="permission"):
        decode(locked)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY_RGB),
        (GREY[..., None], GREY_RGB),
        (PICTURE, PICTURE),
        (PICTURE[:, ::-1], PICTURE[:, ::-1]),
        (PICTURE.astype(np.uint16) * 257, PICTURE),
        (PICTURE.astype(np.float32) / 255, PICTURE),
        (PICTURE.astype(np.float64) / 255, PICTURE),
    ],
)
def test_arrays(array, expected):
    picture = decode(array)
    assert difference(picture.pixels, expected) == 0
    assert picture.pixels.flags.c_contiguous
    assert picture.source == "<array>"


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((4, 240, 320), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 3), bool),
        np.full((4, 4, 3), 1.5),
        np.full((4, 4, 3), -0.1),
        np.full((4, 4, 3), np.nan),
    ],
)
def test_arrays_that_mean_nothing(array):
    with pytest.raises(InputError, match="array"):
        decode(array)


def test_pil_images_and_other_objects():
    assert difference(decode(IMAGE).pixels, PICTURE) == 0
    assert decode(IMAGE.convert("CMYK")).mode == "CMYK"
    with pytest.raises(InputError, match="int"):
        decode(3)


SAMPLES = {
    format: encoded(blocks(80, 60), format, **options)
    for format, options in [
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("TIFF", {}),
        ("BMP", {}),
        ("AVIF", {}),
    ]
}
SAMPLES["TIFF-lzw"] = encoded(blocks(80, 60), "TIFF", compression="tiff_lzw")
SAMPLES["PNG-palette"] = encoded(Image.fromarray(blocks(80, 60)).convert("P"), "PNG")
LIMIT = 200_000


def survives(data):
    """Decode an image within the limit, or accept an InputError; any other exception fails the test."""
    try:
        picture = decode(data, max_pixels=LIMIT, min_side=32)
    except InputError:
        return
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape[2] == 3
    assert picture.pixels.size // 3 <= LIMIT


MAGIC = st.sampled_from([data[:16] for data in SAMPLES.values()] + [b""])


@settings(max_examples=150, deadline=None)
@given(MAGIC, st.binary(max_size=300))
def test_any_bytes_give_a_picture_or_an_input_error(magic, rest):
    survives(magic + rest)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    st.floats(0.5, 1),
)
def test_damaged_files_give_a_picture_or_an_input_error(name, changes, kept):
    data = bytearray(SAMPLES[name])
    for place, value in changes:
        # Squared, so that most changes hit the headers at the start of the file.
        data[int(place**2 * len(data))] = value
    survives(bytes(data[: int(len(data) * kept)]))

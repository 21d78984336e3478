"""TIFF files with several pictures, as cameras and scanners write them, made here byte by byte."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import blocks
from PIL import Image

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import decode, stored_picture
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.reading.tiff import directories, full_pages
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.inputs.video import sample_frames
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize

PREVIEW, PHOTO = blocks(160, 120, seed=1), blocks(640, 480, seed=2)
RAW, LINEAR_RAW = 32803, 34892
SPEC = PreprocessSpec(resize=Resize(height=32, width=32), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3))


def tiff(*pages, order="<", big=False):
    """Write a TIFF file; a page is (tags by number, content, pages below it)."""
    place = "Q" if big else "I"
    out = bytearray(b"II" if order == "<" else b"MM")
    out += struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)

    def written(page):
        tags, content, below = page
        start = len(out)
        out.extend(content)
        if content:
            at, length = (513, 514) if 513 in tags else (273, 279)
            tags = {**tags, at: [start], length: [len(content)]}
        if inner := [written(one) for one in below]:
            tags = {**tags, 330: inner}
        rows = b""
        for tag, values in sorted(tags.items()):
            data = struct.pack(f"{order}{len(values)}I", *values)
            if len(data) > struct.calcsize(order + place):
                data, start = struct.pack(order + place, len(out)), out.extend(data)
            rows += struct.pack(f"{order}HH{place}", tag, 4, len(values)) + data.ljust(struct.calcsize(place), b"\0")
        start = len(out)
        out.extend(struct.pack(order + ("Q" if big else "H"), len(tags)) + rows + bytes(struct.calcsize(place)))
        return start

    link = 8 if big else 4
    for page in pages:
        struct.pack_into(order + place, out, link, written(page))
        link = len(out) - struct.calcsize(place)
    return bytes(out)


def rgb(pixels, kind=None, *below, compression=1, **more):
    height, width = pixels.shape[:2]
    tags = {256: [width], 257: [height], 258: [8, 8, 8], 259: [compression], 262: [2], 277: [3], 278: [height]}
    tags |= {} if kind is None else {254: [kind]}
    return {**tags, **{int(tag[1:]): values for tag, values in more.items()}}, pixels.tobytes(), below


def jpeg(pixels, tag=513):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95, subsampling=0)
    sizes = {} if tag == 513 else {256: [pixels.shape[1]], 257: [pixels.shape[0]]}
    return {254: [1], 259: [6], tag: [0], **sizes}, content.getvalue(), ()


def sensor(width, height, photometric=RAW, compression=34713):
    tags = {254: [0], 256: [width], 257: [height], 258: [14], 259: [compression], 262: [photometric], 277: [1]}
    return tags, bytes(100), ()


def is_photo(picture):
    return picture.pixels.shape == PHOTO.shape and np.abs(picture.pixels.astype(int) - PHOTO).mean() < 5


@pytest.mark.parametrize("form", [{}, {"order": ">"}, {"big": True}])
def test_the_photograph_below_a_preview_is_taken(form):
    data = tiff(rgb(PREVIEW, 1, rgb(PHOTO, 0)), **form)
    picture = decode(data)
    assert np.array_equal(picture.pixels, PHOTO)
    assert (picture.width, picture.height) == (640, 480)
    assert picture.warnings == ("holds 2 pictures: the largest, of 640 × 480 pixels, was judged",)
    assert np.array_equal(np.asarray(stored_picture(data)[0]), PHOTO)


@pytest.mark.parametrize(
    ("pages", "is_said"),
    [
        ([rgb(PREVIEW, 1), rgb(PHOTO, 0)], True),
        ([rgb(PREVIEW), rgb(PHOTO)], True),
        ([rgb(PREVIEW, None, t255=[2]), rgb(PHOTO, None, t255=[1])], True),
        ([rgb(PHOTO, 0), rgb(PREVIEW, 1)], False),
        ([rgb(PHOTO, 0), rgb(PHOTO, 4)], False),
        ([rgb(PHOTO, 0, rgb(PREVIEW, 1))], False),
        ([rgb(PHOTO, 0), rgb(PHOTO[::2, ::2], 1), rgb(PREVIEW, 1)], False),
    ],
)
def test_the_largest_page_is_taken_and_said_unless_the_others_are_only_smaller(pages, is_said):
    picture = decode(tiff(*pages))
    assert is_photo(picture)
    assert bool(picture.warnings) is is_said
    assert not is_video(tiff(*pages))


def test_pages_that_are_pictures_of_their_own():
    assert full_pages(io.BytesIO(tiff(rgb(PHOTO, 2), rgb(PHOTO[::-1], 2), rgb(PREVIEW, 1)))) == [0, 1]
    assert full_pages(io.BytesIO(tiff(rgb(PREVIEW), rgb(PHOTO)))) == [1]
    assert full_pages(io.BytesIO(tiff(rgb(PHOTO), rgb(PHOTO[:240])))) == [0, 1]
    assert full_pages(io.BytesIO(tiff(rgb(PREVIEW), sensor(640, 480)))) == []


def test_every_page_of_several_is_judged(monkeypatch):
    monkeypatch.setattr("deepfake_core.inputs.streams.animation._MOST_PIXELS", 3 * PHOTO.size // 3)
    pages = [rgb(np.full_like(PHOTO, level), 2) for level in (10, 90, 170, 250)]
    for data, levels in ((tiff(*pages[:2], rgb(PREVIEW, 1)), [10, 90]), (tiff(*pages), [10, 90, 170])):
        said = []
        frames = list(sample_frames(data, warn=said.append))
        assert [int(frame.pixels.mean()) for frame in frames] == levels
        assert said == (
            ["of its 4 frames, only the first 3 were looked at, because they are large"] if len(levels) == 3 else []
        )
    assert Preparer(SPEC).prepare(tiff(*pages[:2])).frames == 2
    large = tiff(rgb(PREVIEW), rgb(PREVIEW[:100]), rgb(PHOTO[:100]))
    assert [frame.pixels.shape[1] for frame in sample_frames(large, max_pixels=160 * 120)] == [160, 160]


@pytest.mark.parametrize(
    "pages",
    [
        [rgb(PREVIEW, 1, jpeg(PHOTO), sensor(648, 488))],  # NEF
        [jpeg(PHOTO, 273), jpeg(PREVIEW), rgb(PREVIEW), ({259: [6], 262: [RAW]}, bytes(9), ())],  # CR2
        [rgb(PREVIEW, 1, sensor(1000, 800, LINEAR_RAW, 7), rgb(PHOTO, 1))],  # DNG
    ],
)
def test_the_picture_that_a_camera_made_of_a_raw_photograph_is_judged_and_said(pages):
    picture = decode(tiff(*pages))
    assert is_photo(picture)
    assert "a raw photograph" in picture.warnings[0]
    assert not is_video(tiff(*pages))


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        (
            [rgb(PREVIEW, 1, sensor(6000, 4000))],
            "a raw photograph of 6000 × 4000 pixels.*preview of 160 × 120; develop",
        ),
        ([rgb(PREVIEW, 1, sensor(6000, 4000), jpeg(PHOTO))], "preview of 640 × 480; develop it to JPEG or TIFF"),
        ([sensor(600, 400)], "a raw photograph of 600 × 400 pixels, whose values cannot be read; develop"),
        ([sensor(600, 400, RAW, 1)], "a raw photograph"),
        (
            [rgb(PREVIEW, 1, rgb(PHOTO, 0, compression=34712))],
            "largest picture of 640 × 480 pixels cannot be read.*convert",
        ),
    ],
)
def test_a_preview_is_never_judged_for_a_photograph_that_cannot_be_read(pages, words):
    with pytest.raises(InputError, match=words):
        decode(tiff(*pages))


@pytest.mark.parametrize("photo", [rgb(PHOTO, 0), jpeg(PHOTO)])
def test_the_photograph_is_turned_as_its_preview_says(photo):
    data = tiff(rgb(PREVIEW, 1, photo, t274=[6]))
    picture = decode(data)
    assert np.abs(picture.pixels.astype(int) - np.rot90(PHOTO, -1)).mean() < 5
    assert (picture.width, picture.height) == (480, 640)


def test_the_choice_is_in_the_result_of_a_detector():
    prepared = Preparer(SPEC).prepare(tiff(rgb(PREVIEW, 1, rgb(PHOTO, 0))))
    assert (prepared.width, prepared.warnings[0].split(":")[0]) == (640, "holds 2 pictures")


@pytest.mark.parametrize(
    "magic", [b"FUJIFILMCCD-RAW 0201", b"IIU\0", b"IIRO\x08", b"MMOR", b"\0\0\0\x18ftypcrx \0\0\0\1"]
)
def test_raw_photographs_in_formats_of_their_own_are_named(magic):
    with pytest.raises(InputError, match=r"a raw photograph .*develop it"):
        decode(magic + bytes(64))


def test_directories_in_a_circle_end():
    data = bytearray(tiff(rgb(PREVIEW, 1), rgb(PHOTO, 0)))
    data[-4:] = data[4:8]
    assert len(directories(io.BytesIO(data))) == 2
    assert is_photo(decode(bytes(data)))


SAMPLES = [
    tiff(rgb(PREVIEW[:8, :8], 1, rgb(PHOTO[:20, :20], 0), jpeg(PHOTO[:16, :16])), rgb(PREVIEW[:8, :8]), big=big)
    for big in (0, 1)
]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_damaged_directories_give_a_picture_or_an_input_error(data, changes):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[-1 - place % (len(data) - 8)] = value
    with contextlib.suppress(InputError):
        decode(bytes(damaged), max_pixels=100_000)
    full_pages(io.BytesIO(damaged))

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import PORTRAIT, blocks, encoded, grey_frames, video_bytes
from nasty import write_nasty_folder

from deepfake_core.inputs import prepare as module
from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.crop import prepare_crop
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.sources import expand
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage

SPEC = PreprocessSpec(
    resize=Resize(height=96, width=96), normalize=Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
)
PREPARER = Preparer(SPEC)


@pytest.fixture(scope="module")
def portrait():
    return decode(PORTRAIT).pixels


def test_a_picture(portrait):
    prepared = PREPARER.prepare(PORTRAIT)
    (face,) = FaceFinder().find(portrait)
    assert prepared.source == str(PORTRAIT)
    assert (prepared.width, prepared.height, prepared.mode) == (512, 512, "RGB")
    assert (prepared.frames, prepared.times_s, prepared.error) == (1, (None,), "")
    assert prepared.faces == (face,)
    assert np.array_equal(prepared.crops, prepare_crop(portrait, face.box, SPEC)[None])
    assert set(prepared.timings_ms) == {"decode", "faces", "crop"}
    assert min(prepared.timings_ms.values()) > 0


def test_every_kind_of_input_gives_the_same_crop(portrait):
    expected = PREPARER.prepare(PORTRAIT).crops
    for source in (str(PORTRAIT), PORTRAIT.read_bytes(), portrait, encoded(portrait, "PNG")):
        assert np.array_equal(PREPARER.prepare(source).crops, expected)


def test_no_face_is_not_an_error():
    prepared = PREPARER.prepare(blocks())
    assert prepared.error == ""
    assert prepared.faces == ()
    assert prepared.crops.shape == (0, 96, 96, 3)


def test_a_whole_image_detector_gets_the_whole_picture(portrait):
    spec = SPEC.model_copy(update={"crop": WholeImage()})
    prepared = Preparer(spec).prepare(portrait[:300])
    assert [face.box for face in prepared.faces] == [Box(0, 0, 512, 300)]
    assert np.array_equal(prepared.crops, prepare_crop(portrait[:300], None, spec)[None])


@pytest.mark.parametrize(
    ("enlarged", "scales"),
    [
        (3, [1.0]),  # too small for a reduced image
        (6, [0.5]),  # the crop is large enough at half the scale
        (12, [0.25]),
    ],
)
@pytest.mark.parametrize("network", [96, 400])
def test_large_jpegs_are_decoded_small_only_where_the_crop_stays_sharp(
    portrait, enlarged, scales, network, monkeypatch
):
    seen = []

    def spying(*args, **options):
        picture = decode(*args, **options)
        seen.append(picture.scale)
        return picture

    monkeypatch.setattr(module, "decode", spying)
    spec = SPEC.model_copy(update={"resize": Resize(height=network, width=network)})
    pixels = cv2.resize(portrait, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    prepared = Preparer(spec).prepare(encoded(pixels, "JPEG", quality=95))
    (face,) = prepared.faces
    side = 1.3 * face.box.height
    if network == 96:
        assert seen == scales
    assert seen[-1] == 1.0 or side * seen[-1] >= 2 * network
    # The smallest scale at which that holds, or the scale of the first look.
    assert seen[-1] == seen[0] or side * seen[-1] / 2 < 2 * network
    assert (prepared.width, prepared.height) == (512 * enlarged, 512 * enlarged)
    assert face.box.x == pytest.approx(178 * enlarged, abs=8 * enlarged)
    in_full = prepare_crop(decode(encoded(pixels, "JPEG", quality=95)).pixels, face.box, spec)
    assert np.abs(prepared.crops[0].astype(int) - in_full).mean() < 2


def test_faces_are_limited(portrait):
    crowd = np.tile(portrait[:256, 128:384], (2, 3, 1))
    assert len(PREPARER.prepare(crowd).faces) == 6
    assert len(Preparer(SPEC, max_faces=4).prepare(crowd).faces) == 4


def test_a_video(portrait):
    frames = [np.roll(portrait[:320, 80:400], 4 * index, axis=1) for index in range(20)]
    prepared = Preparer(SPEC, frames=5).prepare(video_bytes(frames, rate=10))
    assert (prepared.frames, prepared.mode, prepared.error) == (5, "video", "")
    assert (prepared.width, prepared.height) == (320, 320)
    assert prepared.crops.shape == (5, 96, 96, 3)
    assert prepared.times_s == pytest.approx((0.2, 0.6, 1.0, 1.4, 1.8))
    places = [face.box.x for face in prepared.faces]
    assert np.diff(places) == pytest.approx([16] * 4, abs=4)


def test_a_video_without_a_face():
    prepared = PREPARER.prepare(video_bytes(grey_frames(20)))
    assert (prepared.frames, prepared.faces, prepared.error) == (16, (), "")


def test_30_nasty_files_give_30_results(tmp_path):
    written = write_nasty_folder(tmp_path / "nasty")
    assert len(written) == 30
    sources = list(expand(tmp_path / "nasty"))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(PREPARER.prepare, sources))
    assert [result.source for result in results] == [source.name for source in sources]
    errors = {written.name: result.error for written, result in zip(written, results, strict=True)}
    readable = {name for name, error in errors.items() if not error}
    assert readable == {
        "cmyk.jpg", "not_a_number.tif", "one_pixel.png", "png_inside.jpg", "thin.png", "truncated.mp4",
        "портрет 脸 😀 [1].png", written[[w.name.startswith("caf") for w in written].index(True)].name,
    }  # fmt: skip
    for result in results:
        assert "\n" not in result.error
        assert str(tmp_path) not in result.error
        assert result.frames == 0 or not result.error
    assert "only sound" in errors["sound.mp4"]
    assert "limit of 64,000,000" in errors["bomb.gif"]


def test_the_pixel_limit_is_passed_on():
    assert "limit of 100" in Preparer(SPEC, max_pixels=100).prepare(encoded(blocks(), "PNG")).error
    assert "limit of 100" in Preparer(SPEC, max_pixels=100).prepare(video_bytes(grey_frames(2))).error


def test_a_file_object_gives_the_crop_of_its_file():
    with PORTRAIT.open("rb") as file:
        prepared = PREPARER.prepare(file)
    assert prepared.source == str(PORTRAIT)
    np.testing.assert_array_equal(prepared.crops, PREPARER.prepare(PORTRAIT).crops)
    assert "cannot be read" in PREPARER.prepare(file).error


def test_something_else_altogether():
    assert "int" in PREPARER.prepare(3).error


MAGIC = st.sampled_from(
    [encoded(blocks(40, 40), "JPEG")[:200], b"\0\0\0\x18ftypisom", b"\x1a\x45\xdf\xa3", b"GIF89a", b""]
)


@settings(max_examples=100, deadline=None)
@given(MAGIC, st.binary(max_size=200))
def test_any_bytes_give_a_result(magic, rest):
    prepared = Preparer(SPEC, max_pixels=100_000).prepare(magic + rest)
    assert prepared.crops.shape[1:] == (96, 96, 3)
    assert len(prepared.crops) == len(prepared.faces) == len(prepared.times_s)
    assert prepared.error or prepared.width


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_any_array_gives_a_result(width, height, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert PREPARER.prepare(pixels).error == ""

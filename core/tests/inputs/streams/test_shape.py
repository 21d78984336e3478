"""Tests of how frames are shown: with square pixels, without what the container hides, and upright."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from media import PORTRAIT, blocks, turned_mp4, video_bytes
from PIL import Image

from deepfake_core.data.inspect import Want, inspect
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.streams.shape import Edges, pixel_shape, shown, shown_size
from deepfake_core.inputs.video import sample_frames
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize

PAL_WIDE = Fraction(16, 11)
FACES = PreprocessSpec(resize=Resize(height=64, width=64), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3))


def clip(picture, shape, tmp_path, format="mp4", codec="libx264"):
    """A video of a picture that is stored with pixels of a shape, as width by height."""
    width = round(picture.width / shape / 2) * 2
    path = tmp_path / f"{shape.numerator}-{shape.denominator}"
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, picture.height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape
        stream.codec_context.bit_rate = 8_000_000
        frame = np.asarray(picture.resize((width, picture.height), Image.Resampling.LANCZOS))
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def picture(width=256, height=192):
    return Image.fromarray(blocks(width, height)).resize((width, height))


CONTAINERS = [("mp4", "libx264"), ("matroska", "libx264"), ("mpegts", "mpeg2video"), ("avi", "mpeg4"), ("mov", "mpeg4")]


@pytest.mark.parametrize(("format", "codec"), CONTAINERS)
def test_frames_are_shown_with_square_pixels(format, codec, tmp_path):
    # 4:3 and 16:9 for MPEG-2, which states the shape of the whole picture.
    shape = Fraction(4, 3) if codec == "mpeg2video" else PAL_WIDE
    square = list(sample_frames(clip(picture(), Fraction(1), tmp_path, format, codec), 2))
    squeezed = list(sample_frames(clip(picture(), shape, tmp_path, format, codec), 2))
    assert square[0].pixels.shape == (192, 256, 3)
    assert squeezed[0].pixels.shape[0] == 192
    assert squeezed[0].pixels.shape[1] == pytest.approx(256, abs=3)
    alike = np.asarray(Image.fromarray(squeezed[0].pixels).resize((256, 192)), np.float64)
    assert np.abs(alike - square[0].pixels).mean() < 12


@pytest.mark.parametrize("shape", [PAL_WIDE, Fraction(10, 11), Fraction(2)])
def test_the_faces_of_a_squeezed_video_are_those_of_its_square_twin(shape, tmp_path):
    portrait = Image.open(PORTRAIT).convert("RGB").resize((256, 256))
    square, squeezed = (Preparer(FACES).prepare(str(clip(portrait, one, tmp_path))) for one in (Fraction(1), shape))
    assert (square.width, square.height) == (256, 256)
    assert (squeezed.width, squeezed.height) == (pytest.approx(256, abs=3), 256)
    assert len(squeezed.crops) == len(square.crops) == 4
    assert np.abs(squeezed.crops[0].astype(int) - square.crops[0].astype(int)).mean() < 12
    facts = inspect((tmp_path / f"{shape.numerator}-{shape.denominator}").read_bytes(), "name", Want())
    assert (facts.width, facts.height) == (squeezed.width, 256)


def test_pixels_are_made_square_before_the_frame_is_turned(tmp_path):
    data = clip(picture(), PAL_WIDE, tmp_path).read_bytes()
    (upright, *_), (turned, *_) = list(sample_frames(data, 1)), list(sample_frames(turned_mp4(data, 90), 1))
    assert turned.pixels.shape == (256, 192, 3)
    assert np.array_equal(turned.pixels, np.rot90(upright.pixels, -1))


@pytest.mark.parametrize("shape", [Fraction(1000, 1), Fraction(1, 1000)])
def test_a_shape_that_cannot_be_meant_is_taken_for_square_and_said(shape, tmp_path):
    path = clip(picture(), PAL_WIDE, tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(b"pasp") + 4
    data[at : at + 8] = struct.pack(">II", shape.numerator, shape.denominator)
    warnings = []
    frames = list(sample_frames(bytes(data), 2, warn=warnings.append))
    assert frames[0].pixels.shape == (192, 176, 3)
    assert warnings == [f"it states pixels of {shape.numerator}:{shape.denominator}, which were taken for square"]


def test_the_shape_of_pixels():
    assert [pixel_shape(stated)[0] for stated in (None, Fraction(0), Fraction(1), PAL_WIDE)] == [1, 1, 1, PAL_WIDE]
    assert shown_size(720, 576, PAL_WIDE) == (1047, 576)
    assert shown_size(1, 480, Fraction(1, 4)) == (1, 480)


def test_the_limit_of_pixels_holds_for_the_frames_as_shown(tmp_path):
    path = clip(picture(), Fraction(4), tmp_path)
    assert "frames of 256 × 192 pixels" in Preparer(FACES, max_pixels=40_000).prepare(str(path)).error


def with_clap(data, width, height, right, down):
    """An H.264 MP4 in which a clean aperture of a size lies so far right of and below the middle."""
    clap = struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, right, 1, down, 1)
    format_at = data.index(b"avc1", data.index(b"stsd")) - 4
    end = format_at + int.from_bytes(data[format_at : format_at + 4], "big")
    grown = bytearray(data[:end] + clap + data[end:])
    places = [
        grown.index(kind, grown.index(b"moov")) - 4 for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    ]
    for at in (*places, format_at):
        grown[at : at + 4] = (int.from_bytes(grown[at : at + 4], "big") + 40).to_bytes(4, "big")
    return bytes(grown)


def test_what_a_clean_aperture_hides_is_cut_off():
    data = video_bytes([blocks(320, 240)] * 3, codec="libx264", rate=25)
    (whole,) = sample_frames(data, 1)
    (cut,) = sample_frames(with_clap(data, 200, 180, 10, -6), 1)
    assert np.array_equal(cut.pixels, whole.pixels[24:204, 70:270])
    for absurd in ((400, 180, 0, 0), (0, 0, 0, 0), (200, 180, 90, 0), (-5, 180, 0, 0)):
        (frame,) = sample_frames(with_clap(data, *absurd), 1)
        assert np.array_equal(frame.pixels, whole.pixels)


def test_cropping_comes_before_everything_else():
    pixels = blocks(320, 240)
    once = shown(pixels, Edges(left=20, right=100, top=40), Fraction(2), 1)
    assert once.shape == (400, 200, 3)
    assert np.array_equal(shown(pixels, Edges(left=300, right=100), Fraction(1), 0), pixels), "nothing would be left"

"""Animated images whose later frames are far larger than the header says, or cut off: nothing hangs or is unsaid."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.sniff import sniff
from deepfake_core.inputs.streams import animation
from deepfake_core.inputs.video import sample_frames


def gif_with_a_large_frame(width: int, height: int, place: int = 1) -> bytes:
    """A GIF of four frames, one of which states another size."""
    frames = [Image.new("RGB", (24, 16), (60 * number, 0, 0)) for number in range(4)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=100, disposal=2)
    data = bytearray(stream.getvalue())
    at = -1
    for _ in range(place + 1):
        at = data.index(b"\x2c\0\0\0\0\x18\0\x10\0", at + 1)
    data[at + 5 : at + 9] = struct.pack("<HH", width, height)
    return bytes(data)


@pytest.mark.parametrize("side", [65535, 13000])  # beyond what Pillow allows, and beyond our limit
def test_a_frame_that_is_too_large_ends_an_animation(side: int) -> None:
    data = gif_with_a_large_frame(side, side)
    found = animation.animation(io.BytesIO(data), sniff(data), "a.gif", 64_000_000)
    assert found is not None
    for _ in range(2):  # the timeline, and then the frames
        assert [(number, image.size) for number, image in found._loaded()] == [(0, (24, 16))]


def test_a_small_file_is_not_decoded_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "_USUAL_PIXELS", 50_000)
    monkeypatch.setattr(animation, "_PIXELS_PER_BYTE", 1)
    frames = [Image.new("L", (100, 100), 10 * level) for level in range(16)]
    stream = io.BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:], duration=100)
    assert len(stream.getvalue()) < 50_000
    found = animation.animation(stream, sniff(stream.getvalue()), "a.png", 64_000_000)
    assert found is not None
    assert (len(found._numbers), found._kept) == (16, 5)
    assert found.left_out(8) == ["of its 16 frames, only the first 5 were looked at, because they are large"]


def test_pixels_are_counted_as_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "_MOST_PIXELS", 30_000)
    data = gif_with_a_large_frame(200, 200)
    found = animation.animation(io.BytesIO(data), sniff(data), "a.gif", 64_000_000)
    assert found is not None
    found.timeline()
    assert found._kept == 1


def test_the_frames_before_are_judged_and_the_loss_is_said() -> None:
    said: list[str] = []
    assert len(list(sample_frames(gif_with_a_large_frame(65535, 65535, place=2), 8, warn=said.append))) == 2
    assert said


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("length", [0, 1, 5, 9])
def test_an_animation_that_is_cut_off_within_a_header_is_judged_as_far_as_it_goes(place: int, length: int) -> None:
    data = gif_with_a_large_frame(24, 16)
    at = -1
    for _ in range(place + 1):
        at = data.index(b"\x2c\0\0\0\0\x18\0\x10\0", at + 1)
    cut = data[: at + 1 + length]
    if place == 1:
        assert decode(cut).warnings == ("damaged behind its first frame; get the file again",)
    else:
        said: list[str] = []
        assert len(list(sample_frames(cut, 8, warn=said.append))) == place
        assert "ends before its stated length" in " ".join(said)


def test_a_page_that_cannot_be_read_is_said_and_the_others_are_judged() -> None:
    pages = [Image.effect_noise((40, 30), 60 + 10 * number).convert("RGB") for number in range(3)]
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    data = bytearray(stream.getvalue())
    (place,) = strips(bytes(data))[1]
    data[place : place + 60] = bytes(60)
    said: list[str] = []
    frames = list(sample_frames(bytes(data), 8, warn=said.append))
    assert len(frames) == 2
    assert "1 of 3 decoded frames are damaged" in " ".join(said)
    assert "raise frames" not in " ".join(said)


def strips(data: bytes) -> list[list[int]]:
    """Where the pixels of each page of a TIFF file are."""
    found = []
    with Image.open(io.BytesIO(data)) as image:
        for number in range(image.n_frames):
            image.seek(number)
            found.append(list(image.tag_v2[273]))
    return found

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import blocks, encoded, grey_frames, sound_bytes, turned_mp4, video_bytes

from deepfake_core.errors import InputError
from deepfake_core.inputs.streams import moving
from deepfake_core.inputs.streams.container import VideoStream
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.inputs.video import sample_frames


def levels(frames, total):
    """Return which of ``total`` grey frames each sampled frame is."""
    return [round((float(frame.pixels.mean()) - 20) * total / 200) for frame in frames]


CONTAINERS = [
    ("mp4", "mpeg4"),
    ("mov", "mpeg4"),
    ("avi", "mpeg4"),
    ("matroska", "mpeg4"),
    ("mpegts", "mpeg2video"),
    ("webm", "libvpx"),
    ("h264", "libx264"),
]


@pytest.mark.parametrize(("format", "codec"), CONTAINERS)
def test_frames_are_spread_over_the_whole_clip(format, codec, tmp_path):
    data = video_bytes(grey_frames(40), format=format, codec=codec, rate=25)
    frames = list(sample_frames(data, 8))
    assert [frame.index for frame in frames] == list(range(8))
    assert levels(frames, 40) == pytest.approx([2, 7, 12, 17, 22, 27, 32, 37], abs=1.01)
    assert [frame.time_s for frame in frames] == pytest.approx([(2.5 + 5 * i) / 25 for i in range(8)], abs=0.06)
    assert frames[0].pixels.shape == (48, 64, 3)
    assert frames[0].pixels.dtype == np.uint8
    path = tmp_path / "клип.bin"
    path.write_bytes(data)
    assert is_video(path)
    assert levels(sample_frames(path, 8), 40) == levels(frames, 40)


@pytest.mark.parametrize(("format", "codec"), [("matroska", "mpeg4"), ("webm", "libvpx"), ("mpegts", "mpeg2video")])
def test_containers_that_state_no_duration(format, codec):
    data = video_bytes(grey_frames(40), format=format, codec=codec, rate=25, seekable=False)
    assert levels(sample_frames(data, 4), 40) == pytest.approx([5, 15, 25, 35], abs=1.01)


def test_variable_frame_rate_is_sampled_by_time():
    # Half of the frames are shown in the first tenth of the clip.
    times = [i * 0.05 for i in range(20)] + [1 + i * 0.45 for i in range(20)]
    data = video_bytes(grey_frames(40), format="matroska", times=times)
    frames = list(sample_frames(data, 10))
    assert levels(frames, 40) == pytest.approx([np.searchsorted(times, 0.5 + i, "right") - 1 for i in range(10)], abs=1)
    assert all(frame.time_s <= 0.55 + index for index, frame in enumerate(frames))


def test_a_short_clip_gives_each_frame_once():
    assert levels(sample_frames(video_bytes(grey_frames(5)), 16), 5) == [0, 1, 2, 3, 4]
    assert len(list(sample_frames(video_bytes(grey_frames(1)), 16))) == 1


@pytest.mark.parametrize("gop", [10, 1000])
@pytest.mark.parametrize("format", ["mp4", "matroska", "mpegts"])
def test_long_clips_are_sampled_by_seeking(format, gop, monkeypatch):
    times = [i * 2.0 for i in range(200)]
    only_these_key_frames = {"x264-params": "scenecut=0:bframes=0"}
    data = video_bytes(
        grey_frames(200), format=format, codec="libx264", rate=25, times=times, gop=gop, tune=only_these_key_frames
    )
    jumps = []
    jump = VideoStream._jump

    def noted(clip, target):
        frames = jump(clip, target)
        jumps.append(frames is not None)
        return frames

    monkeypatch.setattr(VideoStream, "_jump", noted)
    jumped = [frame.time_s for frame in sample_frames(data, 8)]
    # With one key frame in the whole clip, each jump would decode it again.
    assert sum(jumps) == (8 if gop == 10 else format == "mp4")
    monkeypatch.setattr(moving, "_JUMP_GAP_S", float("inf"))
    decoded = [frame.time_s for frame in sample_frames(data, 8)]
    assert decoded == pytest.approx([25 + 50 * i for i in range(8)], abs=3.1)
    assert jumped == decoded


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2)])
def test_rotation_is_honoured(degrees, turns):
    picture = blocks(80, 60)
    data = video_bytes([picture] * 3)
    (plain, *_), (turned, *_) = list(sample_frames(data)), list(sample_frames(turned_mp4(data, degrees)))
    assert np.array_equal(turned.pixels, np.rot90(plain.pixels, turns))


def test_truncated_videos_give_what_decodes():
    noisy = [np.random.default_rng(i).integers(0, 40, (48, 64, 3), np.uint8) + frame // 2 for i, frame in
             enumerate(grey_frames(60))]  # fmt: skip
    for format, options in (("mp4", {"movflags": "frag_keyframe+empty_moov"}), ("matroska", {}), ("avi", {})):
        data = video_bytes(noisy, format=format, **options)
        frames = list(sample_frames(data[: len(data) * 2 // 3], 8))
        # The frames are spread over the part that exists.
        assert len(frames) >= 7, format
        assert 2.0 < frames[-1].time_s < 4.5, format


def test_a_damaged_middle_does_not_end_the_clip():
    data = bytearray(video_bytes(grey_frames(60), format="mpegts", codec="mpeg2video", gop=5))
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    assert levels(sample_frames(bytes(data), 8), 60)[-1] > 50


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no bytes"),
        (sound_bytes(), "only sound"),
        (sound_bytes("matroska", "aac"), "only sound"),
        (b"\x1a\x45\xdf\xa3" + bytes(200), "damaged"),
        (b"#EXTM3U\n/etc/passwd", "not a video"),
        (encoded(blocks(), "JPEG"), "not a video"),
        (video_bytes(grey_frames(20)).partition(b"moov")[0], "damaged"),
    ],
    ids=["empty", "sound", "sound-mkv", "header", "playlist", "picture", "no-index"],
)
def test_what_gives_no_frames_is_an_input_error(data, words):
    with pytest.raises(InputError, match=words):
        list(sample_frames(data))


def test_frames_over_the_pixel_limit_are_refused():
    with pytest.raises(InputError, match="limit of 3,000"):
        list(sample_frames(video_bytes(grey_frames(3)), max_pixels=3000))


def test_is_video(tmp_path):
    assert is_video(video_bytes(grey_frames(2)))
    assert not is_video(encoded(blocks(), "PNG"))
    assert not is_video(b"")
    assert not is_video(tmp_path)
    assert not is_video(tmp_path / "gone.mp4")


SAMPLES = [video_bytes(grey_frames(8), format=format, codec=codec) for format, codec in CONTAINERS[:6]]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    st.floats(0.3, 1),
)
def test_damaged_videos_give_frames_or_an_input_error(data, changes, kept):
    changed = bytearray(data)
    for place, value in changes:
        changed[int(place**2 * len(data))] = value
    try:
        frames = list(sample_frames(bytes(changed[: int(len(data) * kept)]), 4, max_pixels=100_000))
    except InputError:
        return
    assert all(frame.pixels.size <= 300_000 for frame in frames)

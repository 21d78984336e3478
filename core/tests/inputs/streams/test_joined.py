"""Tests of videos whose clock starts again, jumps or is missing, and of files that were joined end to end."""

import io

import av
import numpy as np
import pytest
from media import grey_frames, video_bytes

from deepfake_core.inputs.streams.clock import Clock
from deepfake_core.inputs.streams.opening import open_moving
from deepfake_core.inputs.video import duration_s, end_frames, sample_clips, sample_frames
from deepfake_registry.manifest import Clip


def grey(level, count=50):
    return [np.full((48, 64, 3), level, np.uint8)] * count


def dark_and_light(frames):
    return ["dark" if frame.pixels.mean() < 100 else "light" for frame in frames]


FORMATS = [
    ("mpegts", "libx264"),
    ("mpegts", "mpeg2video"),
    ("mpeg", "mpeg2video"),
    ("flv", "libx264"),
    ("flv", "flv1"),
    ("matroska", "libx264"),
    ("avi", "mpeg4"),
    ("mp4", "mpeg4"),
    ("h264", "libx264"),
    ("mxf", "mpeg2video"),
    ("nut", "mpeg4"),
    ("asf", "mpeg4"),
]


@pytest.mark.parametrize(("format", "codec"), FORMATS)
def test_joined_files_are_sampled_over_all_of_them(format, codec):
    dark, light = (video_bytes(grey(level), format=format, codec=codec, rate=25) for level in (40, 200))
    data = dark + 3 * light
    warnings = []
    frames = list(sample_frames(data, 16, warn=warnings.append))
    assert dark_and_light(frames) == ["dark"] * 4 + ["light"] * 12
    times = [frame.time_s for frame in frames]
    assert times == pytest.approx([0.25 + 0.5 * index for index in range(16)], abs=0.06)
    assert duration_s(data) == pytest.approx(8, abs=0.05)
    assert warnings == []
    assert dark_and_light([end_frames(data).first, end_frames(data).last]) == ["dark", "light"]
    clips = list(sample_clips(data, Clip(length=4, stride=2), 4))
    assert [dark_and_light(clip) for clip in clips] == [["dark"] * 4] + [["light"] * 4] * 3


def test_fragments_with_clocks_of_their_own_are_sampled_over_all_of_them():
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    dark, light = (video_bytes(grey(level), codec="libx264", rate=25, **options) for level in (40, 200))
    fragments = light[light.index(b"moof") - 4 : light.index(b"mfra") - 4]
    frames = list(sample_frames(dark[: dark.index(b"mfra") - 4] + 3 * fragments, 16))
    assert dark_and_light(frames) == ["dark"] * 4 + ["light"] * 12


def test_a_flash_video_whose_time_stamps_start_again():
    dark, light = (video_bytes(grey(level), format="flv", codec="flv1", rate=25) for level in (40, 200))
    frames = list(sample_frames(dark + 3 * light[13:], 16))  # without the header of 13 bytes
    assert dark_and_light(frames) == ["dark"] * 4 + ["light"] * 12


@pytest.mark.parametrize("format", ["mp4", "matroska", "mpegts"])
def test_a_clock_that_jumps_forward_leaves_no_frames_out(format):
    times = [index / 25 for index in range(50)] + [1000 + index / 25 for index in range(150)]
    data = video_bytes(grey(40) + grey(200, 150), format=format, codec="libx264", times=times, gop=10)
    assert dark_and_light(sample_frames(data, 16)) == ["dark"] * 4 + ["light"] * 12
    clips = list(sample_clips(data, Clip(length=4, stride=2), 4))
    assert [dark_and_light(clip) for clip in clips] == [["dark"] * 4] + [["light"] * 4] * 3


@pytest.mark.parametrize("format", ["matroska", "mpegts"])
def test_a_long_joined_file_is_not_decoded_as_a_whole(format):
    times = [index * 2.0 for index in range(100)]
    parts = [video_bytes(grey(level, 100), format=format, codec="libx264", times=times, gop=5) for level in (40, 200)]
    video = open_moving(io.BytesIO(b"".join(parts)), "name")
    assert video.timeline().end - video.timeline().start == pytest.approx(400, abs=4)
    shown = list(video.shown_at(video.timeline().middles(4)))
    assert [video.pixels(one.frame).mean() < 100 for _, one in shown] == [True, True, False, False]
    assert video.damage()[1] < 60, "each sample needs the frames from the key frame before it only"
    video.close()


def test_more_picture_streams_than_one_are_named():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as container:
        streams = [container.add_stream("mpeg2video", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in grey_frames(10):
            for stream in streams:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    warnings = []
    assert len(list(sample_frames(buffer.getvalue(), 4, warn=warnings.append))) == 4
    assert warnings == ["of its 2 picture streams, only the first was looked at, of 64 × 48 pixels"]


def clock_of(*stamps, keys=(0,)):
    return Clock.of([(stamp, number in keys) for number, stamp in enumerate(stamps)], 1.0)


def test_a_clock_goes_on_where_its_time_stamps_start_again():
    assert clock_of(0, 2, 1, 3, 5, 4).times == [0, 2, 1, 3, 5, 4], "reordered frames"
    assert clock_of(7, 8, 9, 0, 1, keys=(0, 3)).times == [7, 8, 9, 10, 11]
    assert clock_of(100, 101, 3, 4).times == [100, 101, 102, 103], "it goes back too far for reordered frames"
    assert clock_of(0, 1, 5000, 5001, 2, 3).times == [0, 1, 5000, 5001, 5002, 5003]
    assert clock_of(None, None, None).times == [0, 1, 2]
    assert clock_of(4, None, 6).times == [4, 5, 6]
    assert clock_of(3, 3, 3, 3).times == [0, 1, 2, 3], "time stamps that say nothing"


def test_the_part_of_a_packet_tells_the_time_of_its_frame():
    clock = clock_of(7, 8, 9, 0, 1, keys=(0, 3))
    assert [clock.time(2, 9.0), clock.time(4, 1.0), clock.time(4, None)] == [9, 11, None]
    assert [clock.key_before(9.5), clock.key_before(10.5), clock.key_before(99)] == [0, 3, 3]


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_transport_stream_that_goes_on_with_other_streams(codec):
    dark = video_bytes(grey(40), format="mpegts", codec=codec, rate=25)
    light = video_bytes(grey(200), format="mpegts", codec=codec, rate=25, mpegts_start_pid="512")
    warnings = []
    frames = list(sample_frames(dark + 3 * light, 16, warn=warnings.append))
    assert dark_and_light(frames) == ["dark"] * 4 + ["light"] * 12
    assert warnings == []


def test_many_joined_files_are_limited_and_said(monkeypatch):
    monkeypatch.setattr("deepfake_core.inputs.streams.joined._MOST_PARTS", 3)
    part = video_bytes(grey(40, 5), format="flv", codec="flv1", rate=25)
    warnings = []
    assert len(list(sample_frames(part * 5, 16, warn=warnings.append))) == 15
    assert warnings == ["of 5 joined videos, 2 were not looked at"]

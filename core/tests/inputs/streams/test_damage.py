"""Tests of damaged and cut-off videos: the damage is counted and said, and undamaged frames are taken if there are."""

import numpy as np
import pytest
from media import PORTRAIT, blocks, encoded, video_bytes
from PIL import Image

from deepfake_core.data.crops.cutter import DAMAGED, Cutter
from deepfake_core.datasets import Sample
from deepfake_core.datasets.crop_store.store import StoreSpec
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.video import end_frames, sample_clips, sample_frames
from deepfake_registry.manifest import Clip, Normalize, PreprocessSpec, Resize

FACES = PreprocessSpec(resize=Resize(height=64, width=64), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3))
CODECS = [("mp4", "libx264"), ("mpegts", "libx264"), ("mp4", "mpeg4"), ("flv", "libx264")]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """With several threads, FFmpeg's marks of a damaged frame may come after the frame itself."""
    monkeypatch.setenv("DEEPFAKE_THREADS", "1")


def moving(count=100):
    return [np.roll(blocks(160, 120, seed=index // 10), 3 * index, 1) for index in range(count)]


def smeared(data, start=0.4, end=0.5):
    """A video with wrong bits in a part of its bytes."""
    changed = bytearray(data)
    for at in range(int(len(data) * start), int(len(data) * end), 97):
        changed[at] ^= 0x55
    return bytes(changed)


def sampled(data, count):
    warnings = []
    return list(sample_frames(data, count, warn=warnings.append)), warnings


@pytest.mark.parametrize(("format", "codec"), CODECS)
def test_damaged_frames_are_counted_and_replaced(format, codec):
    data = video_bytes(moving(), format=format, codec=codec, rate=25, gop=5)
    good = [frame.pixels for frame in sample_frames(data, 100)]
    assert sampled(data, 4)[1] == []
    frames, warnings = sampled(smeared(data), 4)
    assert len(frames) == 4
    assert not any(frame.is_damaged for frame in frames)
    assert all(any(np.array_equal(frame.pixels, pixels) for pixels in good) for frame in frames)
    (warning,) = warnings
    assert "decoded frames are damaged, which were not looked at" in warning


def test_a_damaged_frame_that_cannot_be_replaced_is_said():
    data = video_bytes(moving(), codec="libx264", rate=25, gop=50)
    frames, (warning,) = sampled(smeared(data), 50)
    damaged = sum(frame.is_damaged for frame in frames)
    assert 0 < damaged < 30
    assert f"among them {damaged} of the {len(frames)} that were looked at" in warning
    warnings = []
    clips = list(sample_clips(smeared(data), Clip(length=8), 4, warn=warnings.append))
    assert any(frame.is_damaged for clip in clips for frame in clip)
    assert "are damaged" in warnings[0]


def test_a_result_without_a_face_tells_of_the_damage(tmp_path):
    portrait = np.asarray(Image.open(PORTRAIT).convert("RGB").resize((160, 120)))
    data = smeared(video_bytes([portrait] * 3 + moving(60), codec="libx264", rate=25, gop=60), 0.1, 0.95)
    prepared = Preparer(FACES, frames=8).prepare(data)
    assert "decoded frames are damaged" in prepared.warnings[0]


@pytest.mark.parametrize("format", ["matroska", "avi", "flv"])
def test_a_video_that_is_cut_off_says_so(format):
    data = video_bytes(moving(), format=format, codec="mpeg4" if format != "flv" else "flv1", rate=25, gop=5)
    assert (sampled(data, 4)[1], end_frames(data).whole) == ([], True)
    cut = data[: len(data) * 2 // 3]
    assert "the file ends before its stated length" in sampled(cut, 4)[1][-1]
    assert not end_frames(cut).whole


def test_a_recording_that_starts_between_two_key_frames_is_not_damaged():
    data = video_bytes(moving(), format="mpegts", codec="mpeg2video", rate=25, gop=20)
    frames, warnings = sampled(data[188 * (len(data) // 188 // 10) :], 4)
    assert (len(frames), warnings) == (4, [])


def test_damaged_frames_are_not_cut_for_training(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(smeared(video_bytes(moving(), codec="libx264", rate=25, gop=50)))
    spec = StoreSpec(side=64, crop="whole", frames=50)
    crops = Cutter(spec).cut(Sample(path, True, "source", "group"), lambda: path)
    assert {reason for _, reason in crops.rejected} == {DAMAGED}
    assert len(crops.crops) + len(crops.rejected) > 30


def test_an_undamaged_picture_has_no_warning():
    assert Preparer(FACES).prepare(encoded(blocks(), "PNG")).warnings == ()

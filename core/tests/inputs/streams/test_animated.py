"""Tests of animated images: they are videos, whatever they are called."""

import numpy as np
import pytest
from media import blocks, encoded, grey_frames
from PIL import Image

from deepfake_core.data.inspect import Want, inspect
from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.inputs.video import sample_clips, sample_frames
from deepfake_registry.manifest import Clip, Normalize, PreprocessSpec, Resize, WholeImage

LOSSLESS = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
WHOLE = PreprocessSpec(
    crop=WholeImage(), resize=Resize(height=8, width=8), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
)


def animated(frames, format, duration=100):
    first, *others = map(Image.fromarray, frames)
    return encoded(first, format, save_all=True, append_images=others, duration=duration, **LOSSLESS[format])


def levels(frames):
    return [round(float(frame.pixels.mean())) for frame in frames]


@pytest.mark.parametrize("format", LOSSLESS)
def test_all_frames_of_an_animation_are_sampled(format):
    data = animated(grey_frames(8), format)
    assert is_video(data)
    frames = list(sample_frames(data, 16))
    assert levels(frames) == pytest.approx([20 + 25 * index for index in range(8)], abs=2)
    assert [frame.time_s for frame in frames] == pytest.approx([index / 10 for index in range(8)])
    assert levels(sample_frames(data, 3)) == pytest.approx([45, 120, 170], abs=2)
    prepared = Preparer(WHOLE).prepare(data)
    assert (prepared.mode, prepared.frames, len(prepared.crops), prepared.warnings) == ("video", 8, 8, ())


@pytest.mark.parametrize("format", LOSSLESS)
def test_a_frame_counts_for_as_long_as_it_is_shown(format):
    data = animated(grey_frames(2), format, duration=[100, 700])
    assert levels(sample_frames(data, 16)) == pytest.approx([20] + [120] * 7, abs=2)
    times = [frame.time_s for frame in sample_frames(data, 3)]
    assert times == pytest.approx([0.1, 0.4, 0.6])


@pytest.mark.parametrize("format", LOSSLESS)
def test_an_image_with_one_frame_is_a_picture(format):
    data = encoded(blocks(64, 48), format)
    assert not is_video(data)
    prepared = Preparer(WHOLE).prepare(data)
    assert (prepared.mode, prepared.times_s) == ("P" if format == "GIF" else "RGB", (None,))


def test_frames_that_change_a_part_only_are_shown_as_a_whole():
    first = np.full((48, 64, 3), 250, np.uint8)
    second = first.copy()
    second[:24] = 10
    frames = list(sample_frames(animated([first, second, first], "GIF")))
    assert levels(frames) == [250, 130, 250]


def test_a_frame_without_a_duration_is_shown_for_a_tenth_of_a_second():
    frames = list(sample_frames(animated(grey_frames(3), "GIF", duration=0)))
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2])


def test_clips_of_an_animation():
    (clip,) = sample_clips(animated(grey_frames(10), "WEBP"), Clip(length=4, stride=2), 4)
    assert [frame.index for frame in clip] == [1, 3, 5, 7]
    prepared = Preparer(WHOLE.model_copy(update={"clip": Clip(length=4)})).prepare(animated(grey_frames(8), "GIF"))
    assert (prepared.mode, prepared.crops.shape) == ("video", (2, 4, 8, 8, 3))


def test_an_animation_that_is_cut_off_says_so():
    noise = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8) for seed in range(8)]
    for format in ("GIF", "PNG"):
        data = animated(noise, format)
        warnings = []
        frames = list(sample_frames(data[: len(data) * 6 // 10], 16, warn=warnings.append))
        assert 3 <= len(frames) <= 5
        assert "ends before its stated length" in warnings[-1]


def test_large_frames_are_refused_before_they_are_decoded_and_many_are_limited(monkeypatch):
    data = animated(grey_frames(8), "GIF")
    assert "limit of 3,000" in Preparer(WHOLE, max_pixels=3000).prepare(data).error
    monkeypatch.setattr("deepfake_core.inputs.streams.animation._MOST_PIXELS", 3 * 64 * 48)
    assert Preparer(WHOLE).prepare(data).warnings == (
        "of its 8 frames, only the first 3 were looked at, because they are large",
    )


def test_an_animation_is_checked_as_a_video():
    facts = inspect(animated(grey_frames(4), "WEBP"), "name", Want())
    assert (facts.video, facts.format, facts.error) == (True, "WebP", "")


@pytest.mark.parametrize("format", LOSSLESS)
def test_an_animation_is_never_read_as_its_first_frame_alone(format):
    with pytest.raises(InputError, match="an animation"):
        decode(animated(grey_frames(3), format))

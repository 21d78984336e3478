"""Tests of the clips that a detector of clips gets: from videos, folders of frames and single images."""

import numpy as np
import pytest
from media import PORTRAIT, blocks, encoded, grey_frames, video_bytes
from PIL import Image

from deepfake_core.errors import DeepfakeError
from deepfake_core.handle.postprocess import to_result
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.sources import Frames, expand
from deepfake_core.inputs.video import clip_starts, sample_clips
from deepfake_core.runtimes.base import Outputs
from deepfake_registry.manifest import (
    Clip,
    Normalize,
    PreprocessSpec,
    Resize,
    TensorSpec,
    WholeImage,
    manifest_of,
)

CLIP = Clip(length=4, stride=3)
NORMALIZE = Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
FACES = PreprocessSpec(clip=CLIP, resize=Resize(height=96, width=96), normalize=NORMALIZE)
WHOLE = PreprocessSpec(clip=CLIP, crop=WholeImage(), resize=Resize(height=8, width=8), normalize=NORMALIZE)


@pytest.fixture(scope="module")
def portrait():
    return np.asarray(Image.fromarray(decode(PORTRAIT).pixels).resize((320, 320)))


def levels(frames, total):
    return [round((float(frame.pixels.mean()) - 20) * total / 200) for frame in frames]


def grey_folder(folder, count):
    folder.mkdir(parents=True)
    for number, pixels in enumerate(grey_frames(count)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


# ── clips of a video file ──


def test_clips_lie_in_the_middle_of_equal_parts():
    assert clip_starts(100, 4, CLIP) == [7, 32, 57, 82]
    assert clip_starts(25, 4, CLIP) == [1, 13], "as many as fit side by side"
    assert clip_starts(10, 4, CLIP) == [0]
    assert clip_starts(3, 4, CLIP) == [0]
    assert clip_starts(1, 4, CLIP) == [0]


@pytest.mark.parametrize(("format", "codec"), [("mp4", "mpeg4"), ("matroska", "libx264"), ("mpegts", "mpeg2video")])
def test_a_video_gives_clips_over_its_whole_length(format, codec):
    data = video_bytes(grey_frames(100), format=format, codec=codec, rate=25)
    clips = list(sample_clips(data, CLIP, 4))
    expected = [[first + 3 * place for place in range(4)] for first in (7, 32, 57, 82)]
    assert np.allclose([levels(clip, 100) for clip in clips], expected, atol=1)
    assert [[frame.index for frame in clip] for clip in clips] == expected
    assert clips[1][0].time_s == pytest.approx(32 / 25, abs=0.01)


def test_a_short_video_gives_what_it_has():
    (clip,) = sample_clips(video_bytes(grey_frames(5), rate=25), CLIP)
    assert [frame.index for frame in clip] == [0, 3, 4], "the last frame once"
    (clip,) = sample_clips(video_bytes(grey_frames(1), rate=25), CLIP)
    assert len(clip) == 1


def test_frames_are_converted_one_clip_at_a_time():
    clips = sample_clips(video_bytes(grey_frames(100), rate=25), CLIP, 4)
    assert len(next(clips)) == 4
    clips.close()


def test_the_resolution_may_change_within_a_video(portrait):
    def frames(side):
        return [np.asarray(Image.fromarray(portrait).resize((side, side)))] * 6

    # Elementary streams can be put one after the other.
    data = b"".join(video_bytes(frames(side), format="h264", codec="libx264", rate=25) for side in (320, 192))
    prepared = Preparer(FACES).prepare(data)
    assert prepared.error == ""
    (crops,) = prepared.crops
    assert crops.shape == (4, 96, 96, 3)
    sides = [frame.box.width for frame in prepared.tracks[0]]
    assert sides[-1] == pytest.approx(sides[0] * 192 / 320, rel=0.2), "the box shrinks with the frame"
    assert np.corrcoef(crops[0].ravel(), crops[-1].ravel())[0, 1] > 0.7, "and the crop shows the same face"


# ── clips of folders of frames ──


def test_a_folder_of_pictures_is_one_video_in_the_order_of_numbers(tmp_path):
    grey_folder(tmp_path / "video", 12)
    (source,) = expand(tmp_path / "video", clips=True)
    assert [path.rpartition("/")[2] for path in source.data.pictures[:4]] == ["0.png", "1.png", "2.png", "3.png"]
    assert source.data.pictures[-1].endswith("11.png")
    assert len(list(expand(tmp_path / "video"))) == 12, "single pictures for any other detector"


def test_folders_of_videos_give_one_input_each(tmp_path):
    for name in ("b", "a", "deep/c"):
        grey_folder(tmp_path / name, 2)
    (tmp_path / "deep" / "clip.mp4").write_bytes(video_bytes(grey_frames(3)))
    found = [source.name.removeprefix(f"{tmp_path}/") for source in expand(tmp_path, clips=True)]
    assert found == ["a", "b", "deep/clip.mp4", "deep/c"]
    assert [source.name.removeprefix(f"{tmp_path}/") for source in expand(f"{tmp_path}/[ab]", clips=True)] == ["a", "b"]


def test_arrays_of_frames():
    frames = np.stack(list(grey_frames(3)))
    (source,) = expand(frames, clips=True)
    assert len(source.data.pictures) == 3
    assert [len(source.data.pictures) for source in expand(np.stack([frames] * 2), clips=True)] == [3, 3]
    assert len(list(expand(frames))) == 3


def test_a_short_clip_repeats_its_last_frame():
    (crops,) = Preparer(WHOLE).prepare(Frames(list(grey_frames(5)))).crops
    assert crops[:, 0, 0, 0].tolist() == [20, 140, 140, 140]


def test_a_picture_is_a_clip_of_one_frame(portrait):
    prepared = Preparer(FACES).prepare(encoded(portrait, "PNG"))
    assert (prepared.mode, prepared.frames, prepared.times_s) == ("RGB", 1, (None,))
    assert prepared.crops.shape == (1, 4, 96, 96, 3)
    assert (prepared.crops == prepared.crops[:, :1]).all()


def test_frames_that_cannot_be_read_are_passed_over(tmp_path):
    folder = grey_folder(tmp_path / "video", 20)
    (folder / "8.png").write_bytes(b"torn")
    spec = WHOLE.model_copy(update={"clip": Clip(length=4, stride=2)})
    prepared = Preparer(spec, clips=1).prepare(next(expand(folder, clips=True)))
    assert prepared.error == ""
    assert [frame.number for frame in prepared.tracks[0]] == [6, 10, 12]
    for path in folder.iterdir():
        path.write_bytes(b"torn")
    prepared = Preparer(spec).prepare(next(expand(folder, clips=True)))
    assert prepared.error.startswith("no frame can be read")
    assert str(folder) in prepared.error, "the file is named"
    assert "there is none" in Preparer(spec).prepare(Frames([])).error


def test_a_video_without_a_face_is_no_error():
    prepared = Preparer(FACES).prepare(Frames([blocks(seed=seed) for seed in range(4)]))
    assert prepared.error == ""
    assert prepared.crops.shape == (0, 4, 96, 96, 3)


def test_a_face_is_followed_through_frames_where_it_is_not_found(portrait):
    frames = [portrait, portrait, blocks(320, 320), portrait]
    spec = FACES.model_copy(update={"clip": Clip(length=4)})
    prepared = Preparer(spec).prepare(Frames(frames))
    (track,) = prepared.tracks
    assert len({frame.box for frame in track}) == 1, "its box stays where it was"
    assert prepared.frames == 4


def test_detectors_of_pictures_and_of_clips_share_no_faces():
    with pytest.raises(DeepfakeError, match="different clips"):
        Preparer(FACES, others=[FACES.model_copy(update={"clip": None})])
    assert "single pictures" in Preparer(FACES.model_copy(update={"clip": None})).prepare(Frames([blocks()])).error


# ── judging clips ──


def test_a_video_is_judged_by_the_mean_over_clips_of_the_worst_face():
    manifest = manifest_of(
        name="mine",
        architecture="tiny",
        preprocess=WHOLE,
        weights="trained",
        extra_outputs=(TensorSpec(name="frame_logit", dtype="float32", shape=("N", 4)),),
    )
    prepared = Preparer(WHOLE, clips=2).prepare(Frames(list(grey_frames(40))))
    assert len(prepared.crops) == 2
    frame_logit = np.array([[0, 1, 2, 3], [0, -1, -2, -3]], np.float32)
    result = to_result(prepared, Outputs(frame_logit[:, -1], extra={"frame_logit": frame_logit}), manifest)
    high, low = 1 / (1 + np.exp([-3.0, 3.0]))
    assert result.p_fake == pytest.approx((high + low) / 2), "not the maximum: they are other moments"
    assert result.frames == 8
    numbers = [[frame.number for frame in face.frames] for face in result.faces]
    assert numbers == [[5, 8, 11, 14], [25, 28, 31, 34]]
    scores = [frame.p_fake for frame in result.faces[0].frames]
    assert scores == pytest.approx(1 / (1 + np.exp(-np.arange(4.0))))
    (first, *_) = result.to_dict()["faces"][0]["frames"]
    assert first == {"number": 5, "time_s": None, "box": [0.0, 0.0, 64.0, 48.0], "p_fake": pytest.approx(0.5)}

    short = Preparer(WHOLE).prepare(Frames(list(grey_frames(5))))
    (face,) = to_result(short, Outputs(frame_logit[:1, -1], extra={"frame_logit": frame_logit[:1]}), manifest).faces
    assert [frame.number for frame in face.frames] == [0, 3]
    assert face.frames[-1].p_fake == face.p_fake, "the last frame's score is the one after its last repetition"
    (face,) = to_result(short, Outputs(frame_logit[:1, -1]), manifest).faces
    assert [frame.p_fake for frame in face.frames] == [None, None]

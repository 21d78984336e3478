"""Pictures of many people: who is judged, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from media import PORTRAIT, blocks, encoded, video_bytes
from PIL import Image

import deepfake_core as df
from deepfake_core.handle.postprocess import to_result
from deepfake_core.handle.results import Result, Results
from deepfake_core.inputs import prepare as module
from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.inputs.faces import Found
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.sources import Frames
from deepfake_core.runtimes.base import Outputs
from deepfake_registry.manifest import Calibration, Clip, Normalize, PreprocessSpec, Resize, manifest_of

SPEC = PreprocessSpec(resize=Resize(height=32, width=32), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3))
FACES = PreprocessSpec(**{**SPEC.model_dump(), "clip": Clip(length=4, stride=1)})
PICTURE = blocks(800, 600)


class Crowd:
    """Face finder that finds a number of faces in a row; the first is the smallest and the most certain."""

    def __init__(self, count: int, **dropped: int) -> None:
        self.count = count
        self.dropped = dropped

    def search(self, pixels):
        faces = [Face(Box(3 * place, 9, 20 + place, 20 + place), 1 - place / 1000) for place in range(self.count)]
        return Found(faces, **self.dropped)


def prepared(source=PICTURE, spec=SPEC, *, count=25, dropped=None, **options):
    return Preparer(spec, finder=Crowd(count, **(dropped or {})), **options).prepare(source)


@pytest.mark.parametrize("count", [17, 25, 500])
def test_every_face_is_judged_by_default(count):
    found = prepared(count=count)
    assert len(found.crops) == len(found.faces) == count
    assert (found.faces_left_out, found.warnings) == (0, ())


def test_a_limit_keeps_the_largest_faces_and_says_how_many_it_left_out():
    found = prepared(max_faces=4)
    assert [face.box.width for face in found.faces] == [41, 42, 43, 44], "in the order of the finder"
    assert found.faces_left_out == 21
    assert found.warnings == ("21 of 25 faces were left out, the smallest: max_faces=4",)
    assert prepared(max_faces=25).faces_left_out == 0
    with pytest.raises(df.DeepfakeError, match="max_faces is 0; it must be at least 1, or None"):
        prepared(max_faces=0)


def test_the_limit_holds_for_each_frame_of_a_video():
    found = prepared(video_bytes([PICTURE] * 6), frames=3, max_faces=10)
    assert (found.frames, len(found.faces), found.faces_left_out) == (3, 30, 45)


def test_the_limit_holds_for_each_clip():
    found = prepared(Frames([PICTURE] * 12), FACES, clips=2, max_faces=3, count=6)
    assert (len(found.faces), found.faces_left_out) == (6, 6)
    assert {face.box.width for face in found.faces} == {23, 24, 25}
    assert len(prepared(Frames([PICTURE] * 12), FACES, clips=2, count=20).faces) == 40


@pytest.mark.parametrize(("source", "parts"), [(PICTURE, 1), (video_bytes([PICTURE] * 4), 4)])
def test_memory_is_a_limit_too_which_all_frames_share(monkeypatch, source, parts):
    monkeypatch.setattr(module, "_MOST_CROP_BYTES", 40 * 32 * 32 * 3)
    found = prepared(source, frames=4)
    each = min(25, 40 // parts)
    assert len(found.faces) == parts * each
    assert found.faces_left_out == parts * (25 - each)
    assert (found.faces_left_out > 0) is any("512 MB of crops" in said for said in found.warnings)


def test_what_is_dropped_as_too_small_or_uncertain_is_said():
    found = prepared(count=1, dropped={"tiny": 2, "uncertain": 3})
    assert found.faces_left_out == 0
    assert found.warnings == (
        "faces smaller than 16 pixels are not judged: 2",
        "small areas that are not certain to be faces are not judged: 3",
    )


def test_a_face_in_few_frames_of_a_clip_is_said():
    class Passing(Crowd):
        calls = 0

        def search(self, pixels):
            self.calls += 1
            return Found(Crowd(1).search(pixels).faces if self.calls == 2 else [])

    found = Preparer(FACES, finder=Passing(1)).prepare(Frames([PICTURE] * 4))
    assert found.faces == ()
    assert found.warnings == ("faces seen in less than half of a clip are not judged: 1 in single frames",)


MANIFEST = manifest_of(
    name="m", version="1", architecture="tiny", preprocess=SPEC, weights="trained", calibration=Calibration()
)


@pytest.mark.parametrize(("logit", "verdict"), [(-4.0, "unsure"), (4.0, "fake")])
def test_no_verdict_is_real_where_faces_were_left_out(logit, verdict):
    outputs = Outputs(np.full(4, logit, np.float32))
    result = to_result(prepared(max_faces=4), outputs, MANIFEST)
    assert (result.verdict, result.faces_left_out) == (verdict, 21)
    assert (result.p_fake < 0.1) is (logit < 0), "the score is that of the judged faces"
    assert result.faces[0].verdict == ("real" if logit < 0 else "fake")
    again = Result.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again == result
    old = {key: value for key, value in result.to_dict().items() if key != "faces_left_out"}
    assert Result.from_dict(old).faces_left_out == 0


@pytest.fixture
def crowd() -> Image.Image:
    with Image.open(PORTRAIT) as portrait:
        face = portrait.convert("RGB").crop((128, 0, 384, 256)).resize((128, 128))
    sheet = Image.new("RGB", (5 * 128, 4 * 128))
    for place in range(20):
        sheet.paste(face, (place % 5 * 128, place // 5 * 128))
    return sheet


def test_all_verbs_take_the_limit(tiny: Path, crowd: Image.Image) -> None:
    with df.load("tiny") as detector:
        everyone = detector.predict(crowd)
        assert (len(everyone.faces), everyone.faces_left_out) == (20, 0)
        few = detector.predict(crowd, max_faces=2)
        assert (len(few.faces), few.faces_left_out) == (2, 18)
        assert few.verdict != "real"
        assert [one.faces_left_out for one in detector.stream([crowd], max_faces=3)] == [17]
        assert detector.prepare(crowd, max_faces=3).faces_left_out == 17
        assert len(detector.explain(crowd, max_faces=3, every_face=True)) == 3
        with pytest.raises(TypeError, match="max_face"):
            detector.predict(crowd, max_face=3)


def test_pandas_shows_what_was_left_out(tiny: Path, crowd: Image.Image) -> None:
    pytest.importorskip("pandas")
    with df.load("tiny") as detector:
        table = Results([detector.predict(crowd, max_faces=2)]).to_pandas()
    assert list(table["faces_left_out"]) == [18]
    assert "18 of 20 faces were left out" in table["warnings"][0]


def test_the_limit_of_pixels_is_an_option_of_all_verbs(tiny: Path, crowd: Image.Image) -> None:
    data = encoded(crowd, "PNG")
    with df.load("tiny") as detector:
        assert "limit of 1,000 " not in detector.predict(data).error
        for error in (
            detector.predict(data, max_pixels=1000).error,
            next(iter(detector.stream([data], max_pixels=1000))).error,
            detector.prepare(data, max_pixels=1000).error,
        ):
            assert "more than the limit of 1,000;" in error
        with pytest.raises(df.InputError, match="limit of 1,000"):
            detector.explain(data, max_pixels=1000)

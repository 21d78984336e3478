from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_core.handle.postprocess import to_result
from deepfake_core.handle.results import Result
from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.inputs.prepare import Prepared
from deepfake_core.runtimes.base import Outputs, sigmoid
from deepfake_registry.manifest import Calibration, Normalize, PreprocessSpec, Resize, manifest_of

MANIFEST = manifest_of(
    name="mine",
    version="3",
    architecture="tiny",
    preprocess=PreprocessSpec(
        resize=Resize(height=4, width=4), normalize=Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    ),
    weights="trained",
    calibration=Calibration(temperature=2.0, bias=0.5, threshold=0.6, unsure_low=0.55, unsure_high=0.65),
)


def prepared(times_s: list[float | None], *, frames: int = 1, error: str = "") -> Prepared:
    count = len(times_s)
    crops = np.arange(count * 48, dtype=np.uint8).reshape(count, 4, 4, 3)
    faces = tuple(Face(Box(float(index), 0, 10, 10), 0.9) for index in range(count))
    return Prepared("x.jpg", 100, 80, "RGB", crops, faces, tuple(times_s), frames, error, {"decode": 1.0})


def outputs(*logits: float) -> Outputs:
    return Outputs(np.array(logits, np.float32), np.zeros((len(logits), 2, 2), np.float32))


def p(logit: float) -> float:
    return 1 / (1 + math.exp(-(logit / 2 + 0.5)))


def test_picture_takes_its_most_suspicious_face() -> None:
    result = to_result(prepared([None, None, None]), outputs(-2.0, 3.0, 0.0), MANIFEST, inference_ms=7.0)
    assert result.p_fake == pytest.approx(p(3.0))
    assert [face.logit for face in result.faces] == [3.0, 0.0, -2.0], "most suspicious first"
    assert result.logit == 3.0
    assert result.faces[0].box.x == 1.0, "each face keeps its own box"
    assert [face.verdict for face in result.faces] == ["fake", "unsure", "real"]
    assert (result.verdict, result.detector, result.weights) == ("fake", "mine 3", "trained")
    assert result.timings_ms == {"decode": 1.0, "inference": 7.0}
    assert result.faces[0].crop is None
    assert result.faces[0].evidence is None


def test_video_is_the_mean_over_frames_of_the_maximum_over_faces() -> None:
    # Four frames were judged: two faces at 0 s, no face at 1 s, one face each at 2 s and 3 s.
    item = prepared([0.0, 0.0, 2.0, 3.0], frames=4)
    result = to_result(item, outputs(-1.0, 2.0, 0.0, -3.0), MANIFEST)
    assert result.p_fake == pytest.approx((p(2.0) + p(0.0) + p(-3.0)) / 3)
    assert result.logit is not None
    assert result.p_fake == pytest.approx(p(result.logit), rel=1e-12)
    assert result.frames == 4
    assert {face.time_s for face in result.faces} == {0.0, 2.0, 3.0}


def test_no_face_and_error_have_no_score() -> None:
    nothing = to_result(prepared([]), outputs(), MANIFEST)
    assert (nothing.verdict, nothing.p_fake, nothing.logit, nothing.faces) == ("no_face", None, None, ())
    broken = to_result(prepared([], error="cut short"), outputs(), MANIFEST)
    assert (broken.verdict, broken.p_fake, broken.error) == ("error", None, "cut short")


@pytest.mark.parametrize("logit", [math.nan, math.inf, -math.inf])
def test_score_that_is_not_a_number_is_an_error(logit: float) -> None:
    result = to_result(prepared([None, None]), outputs(0.0, logit), MANIFEST)
    assert (result.verdict, result.p_fake) == ("error", None)
    assert "not a number" in result.error


def test_crops_and_evidence_are_kept_when_asked_for() -> None:
    item = prepared([None, None])
    answer = Outputs(np.array([0.0, 1.0], np.float32), np.array([[[0.0]], [[2.0]]], np.float32))
    first, second = to_result(item, answer, MANIFEST, evidence=True, keep_crops=True).faces
    assert first.crop is not None
    assert first.evidence is not None
    assert second.evidence is not None
    np.testing.assert_array_equal(first.crop, item.crops[1])
    assert first.evidence[0, 0] == pytest.approx(1 / (1 + math.exp(-2)))
    assert second.evidence[0, 0] == pytest.approx(0.5)


@given(logits=st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=1, max_size=8))
def test_score_is_a_probability_between_the_faces(logits: list[float]) -> None:
    result = to_result(prepared([float(index // 2) for index in range(len(logits))]), outputs(*logits), MANIFEST)
    scores = [face.p_fake for face in result.faces]
    assert result.p_fake is not None
    assert 0.0 <= min(scores) <= result.p_fake <= max(scores) + 1e-12 <= 1.0 + 1e-12
    assert scores == sorted(scores, reverse=True)
    assert result.verdict == MANIFEST.calibration.verdict(result.p_fake)
    assert result.logit is not None
    assert math.isfinite(result.logit)
    assert MANIFEST.calibration.p_fake(result.logit) == pytest.approx(result.p_fake, rel=1e-9, abs=1e-300)


@given(logit=st.floats(width=32, allow_nan=False))
def test_evidence_never_leaves_the_unit_interval(logit: float) -> None:
    assert 0.0 <= sigmoid(np.array([logit], np.float32))[0] <= 1.0


def test_a_protected_face_is_not_judged() -> None:
    item = replace(prepared([None]), protected=(True,))
    result = to_result(item, outputs(-5.0), MANIFEST)
    assert (result.verdict, result.p_fake) == ("unsure", None), "what hides a fake must not read as real"
    assert result.warnings == ("protected: the face carries the mark of dfbench protect and cannot be judged",)
    assert (result.faces[0].verdict, result.faces[0].protected) == ("unsure", True)
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@pytest.mark.parametrize(("other", "verdict"), [(-5.0, "unsure"), (5.0, "fake")])
def test_beside_a_protected_face_only_fake_is_certain(other: float, verdict: str) -> None:
    item = replace(prepared([None, None]), protected=(True, False))
    result = to_result(item, outputs(9.0, other), MANIFEST)
    assert result.verdict == verdict
    assert result.p_fake == pytest.approx(p(other))
    assert [face.protected for face in result.faces] == [False, True]
    assert "1 of 2 faces" in result.warnings[0]


def test_protected_frames_have_no_part_in_the_score_of_a_video() -> None:
    item = replace(prepared([0.0, 1.0, 2.0], frames=3), protected=(False, True, False))
    result = to_result(item, outputs(2.0, -9.0, 0.0), MANIFEST)
    assert result.p_fake == pytest.approx((p(2.0) + p(0.0)) / 2)

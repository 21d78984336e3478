"""Results as text: one line for a result, a short table for several."""

from __future__ import annotations

import json

import pytest

from deepfake_core.handle.results import FaceResult, FrameResult, Result, Results
from deepfake_core.handle.words import tally
from deepfake_core.inputs.boxes import Box

BOX = Box(1, 2, 3, 4)
SCALE = "fake from 70.0%, real below 30.0%; in between let a person look"


def face(time_s: float | None = None, *, first: int | None = None) -> FaceResult:
    frames = () if first is None else (FrameResult(first, time_s, BOX),)
    return FaceResult(BOX, 0.9, 2.0, 0.8, "fake", time_s, frames)


def result(*faces: FaceResult, source: str = "a.jpg", **fields: object) -> Result:
    given = {"p_fake": 0.8, "verdict": "fake", "weights": "trained", "real_below": 0.3, "fake_from": 0.7}
    return Result(source=source, faces=faces, detector="mine 1", **(given | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        (result(face()), f"a.jpg: fake, P(fake) 80.0% ({SCALE}); 1 face"),
        (result(face(), face()), f"a.jpg: fake, P(fake) 80.0% ({SCALE}); 2 faces, the highest score counts"),
        (
            result(face(0.0), face(0.0), face(1.0), frames=16),
            f"a.jpg: fake, P(fake) 80.0% ({SCALE}); "
            "3 faces in 16 frames, the mean of the highest score in each frame counts",
        ),
        (
            result(face(first=0), face(first=0), face(first=8), frames=16),
            f"a.jpg: fake, P(fake) 80.0% ({SCALE}); "
            "3 faces in 2 clips, the mean of the highest score in each clip counts",
        ),
        (
            result(face(), weights="untrained"),
            "a.jpg: fake, P(fake) 80.0% (the weights are untrained, so scores mean nothing); 1 face",
        ),
        (
            result(face(), verdict="unsure", p_fake=0.1, warnings=("1 of 2 faces was left out",)),
            f"a.jpg: unsure, P(fake) 10.0% ({SCALE}); 1 face; 1 of 2 faces was left out",
        ),
        (
            result(face(), face(), verdict="unsure", p_fake=None, warnings=("protected: 2 of 2 faces",)),
            "a.jpg: unsure; 2 faces; protected: 2 of 2 faces",
        ),
        (result(verdict="no_face", p_fake=None), "a.jpg: no_face"),
        (result(verdict="error", p_fake=None, error="no such file"), "a.jpg: error; no such file"),
        (result(face(), real_below=None, fake_from=None), "a.jpg: fake, P(fake) 80.0%; 1 face"),
        (result(source="a\x1b[2J.jpg", verdict="no_face", p_fake=None), r"'a\x1b[2J.jpg': no_face"),
    ],
)
def test_a_result_is_one_line(judged: Result, said: str) -> None:
    assert str(judged) == said
    assert repr(judged) == f"<Result {said}>"
    assert Result.from_dict(json.loads(json.dumps(judged.to_dict()))) == judged


def test_results_are_a_short_table() -> None:
    missing = result(source="gone.jpg", verdict="error", p_fake=None, error="no such file")
    assert str(Results([result(face()), missing])).splitlines() == [
        "verdict  P(fake)  faces  source",
        "fake       80.0%      1  a.jpg",
        "error                    gone.jpg: no such file",
        "2 inputs: 1 fake, 1 error",
        f"mine 1: {SCALE}",
    ]
    assert str(Results()) == "0 inputs"
    many = str(Results([result(face())] * 1000)).splitlines()
    assert len(many) == 1 + 20 + 3
    assert many[-3:-1] == ["… and 980 more", "1,000 inputs: 1,000 fake"]


def test_tally() -> None:
    counts = {"error": 5, "real": 980, "fake": 12, "unsure": 3}
    assert tally(counts, "file") == "1,000 files: 12 fake, 3 unsure, 980 real, 5 errors"
    assert tally({"no_face": 1}, "file") == "1 file: 1 without a face"


def test_a_record_of_an_earlier_version_has_no_scale() -> None:
    record = result(face()).to_dict()
    for name in ("logit", "real_below", "fake_from"):
        del record[name]
    assert Result.from_dict(record).scale == ""

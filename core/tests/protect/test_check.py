"""Protection that would hide a fake from an installed detector is refused, unless a reason is given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from deepfake_core.discovery import plugins
from deepfake_core.errors import InputError
from deepfake_core.handle.results import Result
from deepfake_core.protect import check

PIXELS = np.zeros((8, 8, 3), np.uint8)
PROTECTOR = SimpleNamespace(manifest=SimpleNamespace(architecture="shield"))


@pytest.fixture
def judged(monkeypatch):
    """Let two detectors judge every picture with these scores."""

    def setting(*scores):
        def judge(name, p_fake):
            verdict = "fake" if p_fake > 0.7 else "real" if p_fake < 0.3 else "unsure"
            result = Result("<array>", verdict, p_fake, (), f"{name} 1", "trained")
            return SimpleNamespace(predict=lambda pixels: result if pixels is PIXELS else None)

        found = tuple(judge(name, score) for name, score in zip(("first", "second"), scores, strict=True))
        monkeypatch.setattr(check, "judges", lambda protector: found if protector == "shield" else ())

    return setting


def test_a_face_that_any_detector_calls_fake_is_refused(judged):
    judged(0.1, 0.94)
    with pytest.raises(InputError, match=r"me\.jpg: second 1 calls a face fake \(P\(fake\) 94\.0%\).*--reason"):
        check.check_not_fake(PROTECTOR, PIXELS, "me.jpg", "")


def test_a_reason_is_recorded_beside_what_it_overrides(judged):
    judged(0.1, 0.94)
    assert check.check_not_fake(PROTECTOR, PIXELS, "me.jpg", "I took it") == (
        {"detector": "first 1", "verdict": "real", "p_fake": 0.1},
        {"detector": "second 1", "verdict": "fake", "p_fake": 0.94},
    )


def test_what_no_detector_calls_fake_is_protected(judged):
    judged(0.1, 0.5)
    assert [one["verdict"] for one in check.check_not_fake(PROTECTOR, PIXELS, "me.jpg", "")] == ["real", "unsure"]


def test_only_packaged_trained_detectors_of_pictures_judge(monkeypatch):
    def model(weights, clip):
        return SimpleNamespace(manifest=SimpleNamespace(weights=weights, preprocess=SimpleNamespace(clip=clip)))

    models = {
        "pictures": model("trained", None),
        "videos": model("trained", object()),
        "smoke": model("untrained", None),
    }
    known = {name: SimpleNamespace(spec=SimpleNamespace(weights="package:weights")) for name in (*models, "shield")}
    known["bare"] = SimpleNamespace(spec=SimpleNamespace(weights=None))
    monkeypatch.setattr(plugins, "detectors", lambda: known)
    monkeypatch.setattr(check, "load", lambda name, device: models[name])
    check.judges.cache_clear()
    try:
        assert check.judges("shield") == (models["pictures"],)
    finally:
        check.judges.cache_clear()

"""What protection does to verdicts is counted picture by picture, as if nothing marked protected faces."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from deepfake_core.handle.results import FaceResult
from deepfake_core.inputs.boxes import Box
from deepfake_core.testing import write_drawn_dataset
from deepfake_registry.manifest import Calibration
from deepfake_unet import verdicts
from deepfake_unet.verdicts import WAYS, Judged, judged, protected_pictures, records

pytestmark = pytest.mark.torch
BAND = Calibration(temperature=1, bias=0, threshold=0.5, unsure_low=0.4, unsure_high=0.6)


def judge(*faces):
    result = SimpleNamespace(faces=[FaceResult(Box(0, 0, 9, 9), 1.0, 0.0, p_fake, "unsure", protected=marked)
                                    for p_fake, marked in faces])  # fmt: skip
    return SimpleNamespace(predict=lambda _: result, manifest=SimpleNamespace(calibration=BAND))


def test_the_mark_does_not_hide_the_score():
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert judged(judge((0.9, True), (0.1, False)), pixels) == Judged(0.9, "fake", True)
    assert judged(judge((0.5, False)), pixels) == Judged(0.5, "unsure", False)
    assert judged(judge(), pixels) is None


def test_changes_are_counted():
    def sample(is_fake):
        return SimpleNamespace(is_fake=is_fake)

    before, after = Judged(0.9, "fake", False), Judged(0.1, "real", True)
    rows = [(sample(True), dict.fromkeys(WAYS, (before, after))), (sample(False), dict.fromkeys(WAYS, (after, after)))]
    first, *others = records("some", rows)
    assert [one.way for one in (first, *others)] == list(WAYS)
    assert (first.real, first.fake, first.marked, first.marked_before) == (1, 1, 2, 1)
    assert first.changes == {"fake: fake > real": 1, "real: real > real": 1}
    assert first.change_fake.value == pytest.approx(-0.8)
    assert first.change_real.value == 0
    assert (first.auc_before.value, first.auc_after.value) == (1, 0.5)
    (alone, *_) = records("fakes", rows[:1])
    assert (alone.auc_before.value, alone.change_real.value) == (None, None)


def test_pictures_are_protected_within_the_bound(detector, tmp_path, monkeypatch):
    write_drawn_dataset(tmp_path / "data")
    found = list(protected_pictures(detector, str(tmp_path / "data"), 1, 0.03))
    assert sorted(sample.is_fake for sample, *_ in found) == [False, True]
    for _, before, after in found:
        assert 0 < np.abs(before.astype(int) - after).max() <= 7
    models = {"unet": detector, "lite": judge((0.7, True))}
    models["lite"].manifest.name, models["lite"].manifest.version = "lite", "1"
    monkeypatch.setattr(verdicts, "load", lambda name, device: models[name])
    verdicts.verdicts(str(tmp_path / "data"), tmp_path / "verdicts.json", count=1)
    written = json.loads((tmp_path / "verdicts.json").read_text())
    assert written["detector"] == "lite 1"
    assert sum(row["real"] + row["fake"] for row in written["sources"]) == 2 * len(WAYS)

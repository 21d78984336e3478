"""The test split: what counts as one sample, and what has no score."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
from crop_stores import Listed

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.errors import TrainingDataError
from deepfake_core.training import evaluate
from deepfake_core.training.runs.rundir import RunDir
from deepfake_registry.manifest import Calibration, Clip

pytestmark = pytest.mark.torch


class Judge:
    """Answers with the scores that a test gives: a number, or a verdict without one."""

    def __init__(self, answers, clip=None):
        calibration = Calibration(threshold=0.5, unsure_low=0.4, unsure_high=0.6)
        self.manifest = SimpleNamespace(calibration=calibration, preprocess=SimpleNamespace(clip=clip))
        self.answers = answers

    def stream(self, sources, **options):
        for source in sources:
            answer = self.answers[Path(source.name).name]
            scored = isinstance(answer, float)
            error = "torn" if answer == "error" else ""
            yield SimpleNamespace(verdict="fake" if scored else answer, p_fake=answer if scored else None, error=error)


def judged(tmp_path, dataset, answers):
    with RunDir(tmp_path / "run") as run:
        summary = evaluate.evaluate_test_split(Judge(answers), dataset, dataset, run)
    with (tmp_path / "run" / "predictions.csv").open() as stream:
        return summary, {row["sample"]: row for row in csv.DictReader(stream)}


def test_frames_of_one_sequence_count_once(tmp_path):  # 003-12
    frames = [(f"a{frame}.png", {"is_fake": False, "group": "s/a"}) for frame in range(3)]
    frames += [(f"b{frame}.png", {"is_fake": True, "group": "s/b"}) for frame in range(2)]
    other = [("c.png", {"is_fake": False, "group": "s/b", "source": "other"})]  # named alike, but of another source
    answers = {"a0.png": 0.1, "a1.png": 0.3, "a2.png": "no_face", "b0.png": 0.9, "b1.png": 0.7, "c.png": 0.2}
    summary, rows = judged(tmp_path, Listed(tmp_path / "data", frames + other), answers)
    assert {name: (float(row["p_fake"]), row["files"]) for name, row in rows.items()} == {
        "a0.png": (0.2, "3"),
        "b0.png": (0.8, "2"),
        "c.png": (0.2, "1"),
    }
    assert [rows[name]["verdict"] for name in ("a0.png", "b0.png")] == ["real", "fake"]
    assert (summary["auc"], summary["accuracy"], summary["count"]) == (1.0, 1.0, 3)
    assert summary["sources"]["a"] == {"auc": 1.0, "count": 2}


def test_fakes_alone_are_judged_beside_the_real_samples_that_are_named():
    rows = [
        {"source": source, "fake": fake, "p_fake": p_fake, "verdict": ""}
        for source, fake, p_fake in (("portraits", 0, 0.4), ("other", 0, 0.9), ("generated", 1, 0.8))
    ]
    assert evaluate.summarise(rows, 0.5)["sources"]["generated"]["count"] == 1
    found = evaluate.summarise(rows, 0.5, {"generated": ("portraits", "elsewhere")})["sources"]["generated"]
    assert found == {"auc": 1.0, "count": 2}


class Videos(Dataset):
    """Fakes that were all made from one original, as DFDC groups them."""

    def __iter__(self):
        for name, fake in (("original.mp4", 0), ("one.mp4", 1), ("two.mp4", 1)):
            yield Sample(self.root / name, bool(fake), "dfdc", "dfdc/original", "test")


def test_a_detector_of_clips_is_given_whole_videos(tmp_path):  # 003-12
    frames = [(f"a{number}.png", {"is_fake": False, "group": "s/a", "frame": number}) for number in (2, 0, 1)]
    frames += [("b0.png", {"is_fake": True, "group": "s/b", "frame": 0}), ("c.png", {"is_fake": True, "group": "s/c"})]
    dataset = Listed(tmp_path / "data", frames)
    seen = []

    class OfClips(Judge):
        def stream(self, sources, **options):
            for source in sources:
                pictures = [source.data] if isinstance(source.data, str) else source.data.pictures
                seen.append([Path(picture).name for picture in pictures])
                yield SimpleNamespace(verdict="fake", p_fake=0.9, error="")

    with RunDir(tmp_path / "run") as run:
        evaluate.evaluate_test_split(OfClips({}, Clip(length=2)), dataset, dataset, run)
    assert sorted(seen) == [["a0.png", "a1.png", "a2.png"], ["b0.png"], ["c.png"]]
    with (tmp_path / "run" / "predictions.csv").open() as stream:
        rows = {row["group"]: row for row in csv.DictReader(stream)}
    assert {group: row["files"] for group, row in rows.items()} == {"s/a": "3", "s/b": "1", "s/c": "1"}


def test_every_video_is_a_sample_of_its_own(tmp_path):  # 003-12
    summary, rows = judged(tmp_path, Videos(tmp_path), {"original.mp4": 0.1, "one.mp4": 0.9, "two.mp4": 0.3})
    assert {name: float(row["p_fake"]) for name, row in rows.items()} == {
        "original.mp4": 0.1,
        "one.mp4": 0.9,
        "two.mp4": 0.3,
    }
    assert (summary["count"], summary["recall"]) == (3, 0.5)


def test_what_has_no_score_is_counted_and_listed(tmp_path):  # resolution 14
    answers = {"0.png": 0.1, "1.png": 0.9, "2.png": "no_face", "3.png": "error"}
    dataset = Listed(tmp_path / "data", [(name, {}) for name in answers])
    summary, rows = judged(tmp_path, dataset, answers)
    assert (summary["count"], summary["no_face"], summary["error"]) == (2, 1, 1)
    assert (rows["3.png"]["p_fake"], rows["3.png"]["verdict"], rows["3.png"]["error"]) == ("", "error", "torn")


def test_the_test_split_is_measured_once(tmp_path):  # 001-10
    dataset = Listed(tmp_path / "data", [("0.png", {}), ("1.png", {})])
    with RunDir(tmp_path / "run") as run:
        with pytest.raises(TrainingDataError, match="no sample of the test split"):
            evaluate.evaluate_test_split(Judge({}), dataset, [], run)
        first = evaluate.evaluate_test_split(Judge({"0.png": 0.1, "1.png": 0.9}), dataset, dataset, run)
        assert evaluate.evaluate_test_split(Judge({"0.png": 0.9, "1.png": 0.1}), dataset, dataset, run) == first

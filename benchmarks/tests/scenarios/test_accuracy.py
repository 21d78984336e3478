"""The accuracy scenario, on scores that are known."""

from __future__ import annotations

import csv
import io
import math
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from media import grey_frames, video_bytes

from deepfake_bench.records.dataset import PLUMBING, DatasetRef, parse_dataset
from deepfake_bench.records.job import Job
from deepfake_bench.records.predictions import read_predictions, seen_files
from deepfake_bench.records.report import SEEN
from deepfake_bench.scenarios import accuracy
from deepfake_bench.scenarios.measures import CALIBRATED
from deepfake_core.data.manifest import manifest_hash
from deepfake_core.datasets import Sample
from deepfake_core.discovery.training_groups import TrainingGroups
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.handle.results import Result
from deepfake_registry.manifest import Calibration

THRESHOLD = 0.4


class Scripted:
    """Answers each path as its file says: a score, or a verdict without one."""

    training_groups: TrainingGroups | None = None

    manifest = SimpleNamespace(
        preprocess=SimpleNamespace(clip=None),
        calibration=Calibration(threshold=THRESHOLD, unsure_low=0.4, unsure_high=0.45),
    )

    def stream(self, sources, **options):
        for source in sources:
            text = source.data.decode() if isinstance(source.data, bytes) else Path(source.data).read_text()
            p_fake = None if text.isalpha() or "_" in text else float(text)
            verdict = text if p_fake is None else self.manifest.calibration.verdict(p_fake)
            yield Result(
                source.name, verdict, p_fake, (), "scripted 1", "trained", error="cut short" * (text == "error")
            )


def write(root: Path, answers: dict[str, object]) -> DatasetRef:
    for name, answer in answers.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{answer}")
    return DatasetRef(name="scripted", layout="image-folder", path=str(root))


def measure(reference: DatasetRef, predictions: str = ""):
    return accuracy.measure(
        Scripted(), Job(detector="x", scenario="accuracy", dataset=reference, predictions=predictions)
    )


def test_figures_per_source_and_their_mean(tmp_path):
    rng = np.random.default_rng(0)
    answers, expected = {}, {}
    for source, gap in {"easy": 0.5, "hard": 0.1}.items():
        fake = np.arange(80) % 2
        score = np.clip(rng.random(80) * 0.5 + gap * fake, 0, 1).round(6)
        for index in range(80):
            answers[f"{source}/{'fake' if fake[index] else 'real'}/{index}.jpg"] = score[index]
        expected[source] = (fake, score)
    outcome = measure(write(tmp_path, answers))
    found = {source.source: source for source in outcome.sources}
    for name, (fake, score) in expected.items():
        values = {key: estimate.value for key, estimate in found[name].metrics.items()}
        assert values["auc"] == pytest.approx(metrics.roc_auc(fake, score))
        assert values["tpr_at_5pct_fpr"] == pytest.approx(metrics.tpr_at_fpr(fake, score, 0.05))
        assert values["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy(fake, score, THRESHOLD))
        assert values["fakes_found"] == pytest.approx((score[fake == 1] >= THRESHOLD).mean())
        assert values["ece"] == pytest.approx(metrics.ece(fake, score))
        assert found[name].metrics["auc"].low < values["auc"] < found[name].metrics["auc"].high or name == "easy"
        assert (found[name].real, found[name].fake) == (40, 40)
    aucs = [metrics.roc_auc(*pair) for pair in expected.values()]
    assert outcome.metrics["auc"] == pytest.approx(np.mean(aucs))
    assert outcome.metrics["auc_lowest_source"] == pytest.approx(min(aucs))


def test_unscored_files_stand_beside_the_figures_and_are_not_made_up(tmp_path):
    reference = write(
        tmp_path,
        {"real/a.jpg": 0.1, "real/b.jpg": "no_face", "fake/c.jpg": 0.9, "fake/d.jpg": "error", "fake/e.jpg": 0.42},
    )
    (source,) = measure(reference, str(tmp_path / "out" / "p.csv")).sources
    assert (source.real, source.fake) == (2, 3)
    assert source.no_face_rate == source.error_rate == source.unsure_rate == pytest.approx(0.2)
    assert source.metrics["auc"].value == 1.0
    with (tmp_path / "out" / "p.csv").open(newline="") as stream:
        rows = {Path(row["path"]).stem: row for row in csv.DictReader(stream)}
    assert rows["c"]["p_fake"] == "0.900000"
    assert (rows["d"]["p_fake"], rows["d"]["error"]) == ("", "cut short")


def test_one_class_has_recall_but_no_auc(tmp_path):
    (source,) = measure(write(tmp_path, {"sd3/fake/a.jpg": 0.9, "sd3/fake/b.jpg": 0.1})).sources
    assert source.metrics["auc"].value is None
    assert source.metrics["fakes_found"].value == 0.5
    assert source.metrics["reals_passed"].value is None
    assert source.metrics["brier"].value is None


def test_no_score_at_all(tmp_path):
    outcome = measure(write(tmp_path, {"real/a.jpg": "no_face", "fake/b.jpg": "no_face"}))
    assert outcome.sources[0].no_face_rate == 1.0
    assert all(estimate.value is None for estimate in outcome.sources[0].metrics.values())
    assert outcome.metrics == {}


def test_frames_of_a_video_count_once_in_the_video_auc(tmp_path):
    frames = {f"real/v{video}/{frame}.jpg": 0.1 * frame for video in range(2) for frame in range(4)}
    frames |= {f"fake/w{video}/{frame}.jpg": 0.1 * frame + 0.05 for video in range(2) for frame in range(4)}
    (source,) = measure(write(tmp_path, frames)).sources
    assert source.groups == 4
    assert source.metrics["auc"].value < 1.0
    assert source.metrics["video_auc"].value == 1.0
    assert not math.isnan(source.metrics["video_auc"].value)


def test_any_layout_is_measured_pictures_in_archives_too(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name, content in {"0.jpg": b"0.2", "0.cls": b"0", "1.jpg": b"0.7", "1.cls": b"1"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    reference = parse_dataset(f"tarred=shards:{tmp_path / 'set.tar'}?labels=0:real,1:fake")
    outcome = measure(reference, str(tmp_path / "p.csv"))
    assert outcome.metrics["auc"] == 1.0
    assert (outcome.dataset.name, outcome.dataset.layout, outcome.dataset.samples) == ("tarred", "shards", 2)
    assert outcome.dataset.sha256 == manifest_hash(reference.open())
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert [Path(row["path"]).name for row in rows] == ["set.tar!0.jpg", "set.tar!1.jpg"]


def test_the_dataset_hash_follows_content_names_and_labels(tmp_path):
    def digest() -> str:
        return measure(DatasetRef(name="x", layout="image-folder", path=str(tmp_path))).dataset.sha256

    write(tmp_path, {"real/a.jpg": 0.1, "fake/b.jpg": 0.9})
    first = digest()
    assert digest() == first
    (tmp_path / "fake" / "b.jpg").write_text("0.8")
    second = digest()
    (tmp_path / "fake" / "b.jpg").rename(tmp_path / "real" / "b.jpg")
    (tmp_path / "fake").rmdir()
    assert len({first, second, digest()}) == 3


def test_an_unlabelled_folder_is_refused(tmp_path):
    with pytest.raises(TrainingDataError, match="class folders"):
        measure(DatasetRef(name="x", layout="image-folder", path=str(tmp_path)))


def test_the_embedded_set_is_paired_and_small():
    folder = Path(PLUMBING.path)
    real, fake = (sorted(path.name for path in (folder / label).iterdir()) for label in ("real", "fake"))
    assert real == fake
    assert sum(path.stat().st_size for path in folder.parent.rglob("*") if path.is_file()) < 1_000_000


def test_pictures_and_videos_are_never_in_one_figure(tmp_path):
    rng = np.random.default_rng(2)
    answers = {
        f"{label}/{index}.{suffix}": round(float(rng.random() / 2 + lift), 6)
        for label, lift in {"real": 0.0, "fake": 0.2}.items()
        for suffix, count in {"jpg": 20, "mp4": 12}.items()
        for index in range(count)
    }
    outcome = measure(write(tmp_path, answers))
    pictures, videos = outcome.sources
    assert (pictures.real, videos.real) == (20, 12)
    assert videos.source == f"{pictures.source} (videos)"
    for row, suffix, name in ((pictures, ".jpg", "auc"), (videos, ".mp4", "videos_auc")):
        chosen = [(path.startswith("fake"), score) for path, score in answers.items() if path.endswith(suffix)]
        expected = metrics.roc_auc(*zip(*chosen, strict=True))
        assert row.metrics["auc"].value == outcome.metrics[name] == pytest.approx(expected)


def test_videos_alone_need_no_other_name(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "duration_s", lambda path: 2.0)
    outcome = measure(write(tmp_path, {"real/a.mp4": 0.1, "fake/b.mp4": 0.9}))
    assert [row.source for row in outcome.sources] == [tmp_path.name]
    assert outcome.metrics["auc"] == 1.0
    assert outcome.conditions["level"].startswith("a sample is a whole video;")


# ── a calibration that was fitted on the set that is measured ────────────────────────────────────────────────


def fitted_on(monkeypatch, *hashes):
    calibration = Scripted.manifest.calibration.model_copy(update={"fitted_on_sha256": hashes})
    manifest = SimpleNamespace(preprocess=Scripted.manifest.preprocess, calibration=calibration)
    monkeypatch.setattr(Scripted, "manifest", manifest)


def test_the_set_that_a_calibration_was_fitted_on_gives_ranking_measures_alone(tmp_path, monkeypatch):
    answers = {f"{label}/{n}.jpg": 0.1 * n for label in ("real", "fake") for n in range(6)}
    reference = write(tmp_path, answers)
    free = measure(reference)
    assert "refused" not in free.conditions
    fitted_on(monkeypatch, "0" * 64, free.dataset.sha256)
    refused = measure(reference)
    assert refused.metrics == {key: value for key, value in free.metrics.items() if key not in CALIBRATED}
    values = {key: estimate.value for key, estimate in refused.sources[0].metrics.items()}
    assert {key for key, value in values.items() if value is None} == set(CALIBRATED)
    assert refused.conditions["refused"].startswith("accuracy, balanced_accuracy, fakes_found")
    fitted_on(monkeypatch, "0" * 64)
    assert measure(reference).metrics == free.metrics


def test_a_part_of_the_set_is_refused_too(tmp_path, monkeypatch):
    reference = write(tmp_path, {f"{label}/{n}.jpg": 0.1 * n for label in ("real", "fake") for n in range(6)})
    fitted_on(monkeypatch, manifest_hash(reference.open()))
    job = Job(detector="x", scenario="accuracy", dataset=reference, limit=2)
    assert "refused" in accuracy.measure(Scripted(), job).conditions


def test_what_trained_the_detector_is_marked_at_its_source(tmp_path, monkeypatch):
    answers = {f"{name}/{label}/{n}.jpg": 0.1 * n for name in "ab" for label in ("real", "fake") for n in range(3)}
    reference = write(tmp_path, answers)
    unknown = measure(reference)
    assert [source.seen_groups for source in unknown.sources] == [0, 0]
    assert unknown.conditions[SEEN].startswith("not known")
    monkeypatch.setattr(Scripted, "training_groups", TrainingGroups.of(["a/1", "a/2", "c/0"], ["b/0"]))
    found = measure(reference, str(tmp_path / "scores.csv"))
    assert [(source.title, source.seen_groups) for source in found.sources] == [("a (seen in training)", 2), ("b", 0)]
    assert found.conditions[SEEN].startswith("2 of the 6 groups, such as a/1, and 1 more by which it was selected")
    assert seen_files(read_predictions(tmp_path / "scores.csv")) == 4
    assert found.metrics == unknown.metrics
    monkeypatch.setattr(Scripted, "training_groups", TrainingGroups.of(["c/0"], []).after(None))
    assert measure(reference).conditions[SEEN] == "none that its package tells, which does not tell all"


def result_of(name: str, frames: int, p_fake: float | None = 0.5):
    sample = Sample(Path(name), False, "s", name)
    return sample, Result(name, "real" if p_fake else "no_face", p_fake, (), "d", "trained", frames=frames)


def test_the_speed_on_videos_is_in_seconds_of_video(tmp_path):
    for name, seconds in {"a.mp4": 3, "b.mp4": 5}.items():
        (tmp_path / name).write_bytes(video_bytes(grey_frames(10 * seconds)))
    judged = [result_of(str(tmp_path / "a.mp4"), 16), result_of(str(tmp_path / "b.mp4"), 10)]
    found = accuracy.video_speed(judged, 4.0)
    assert found["frames_per_video"] == 13
    assert found["video_s_per_s"] == pytest.approx(8 / 4, rel=0.03)
    assert found["videos_per_s"] == 0.5
    unscored = [*judged, result_of("none.mp4", 16, None)]
    assert accuracy.video_speed(unscored, 4.0)["videos_per_s"] == 0.75
    assert accuracy.video_speed([*judged, result_of("c.png", 1)], 4.0) == {"frames_per_video": 13}
    assert accuracy.video_speed([result_of("c.png", 1)], 4.0) == {}

"""The robustness scenario and the untrained probe, on pictures and detectors whose answers are known."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from deepfake_bench.records.dataset import DatasetRef
from deepfake_bench.records.job import Job
from deepfake_bench.scenarios import robustness, variants
from deepfake_bench.scenarios.samples import read_dataset
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.handle.results import Result
from deepfake_core.inputs.decode import decode
from deepfake_registry.manifest import Calibration


class Judge:
    """Gives each decoded picture the score that a function of its pixels gives; unreadable ones are errors."""

    training_groups = None
    manifest = SimpleNamespace(name="judge", calibration=Calibration())

    def __init__(self, score):
        self.score = score

    def stream(self, inputs):
        for item in inputs:
            p_fake = None if isinstance(item, Path) else self.score(decode(item).pixels)
            verdict = "error" if p_fake is None else self.manifest.calibration.verdict(p_fake)
            yield Result("picture", verdict, p_fake, (), "judge 1", "trained")


def picture(seed: int, side: int = 200) -> np.ndarray:
    """A smooth random picture with fine noise, uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 190, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def blockiness(pixels: np.ndarray) -> float:
    """How much larger steps are at the edges of 8×8 blocks than elsewhere: what a coder leaves behind."""
    steps = np.abs(np.diff(pixels.astype(np.float64), axis=1)).mean((0, 2))
    edge = np.arange(len(steps)) % 8 == 7
    ratio = steps[edge].mean() / steps[~edge].mean()
    return float(ratio / (1 + ratio))


def brightness(pixels: np.ndarray) -> float:
    return float(pixels.mean() / 255)


@pytest.fixture
def coded_apart(tmp_path) -> DatasetRef:
    """Real pictures as PNG and fakes as JPEG: the class can be read from the coding, and from nothing else."""
    for label in ("real", "fake"):
        (tmp_path / label).mkdir()
    for index in range(16):
        label, form = ("fake", "jpg") if index % 2 else ("real", "png")
        file = tmp_path / label / f"{index}.{form}"
        Image.fromarray(picture(index)).save(file, **({"quality": 40} if form == "jpg" else {}))
    return DatasetRef(name="coded", layout="image-folder", path=str(tmp_path))


def measure(detector, reference: DatasetRef, **options):
    return robustness.measure(detector, Job(detector="x", scenario="robustness", dataset=reference, **options))


def rows_of(outcome) -> dict[str, dict]:
    return {row.variant: row.metrics for row in outcome.sources}


def test_a_detector_that_reads_the_coding_is_exposed(coded_apart):
    outcome = measure(Judge(blockiness), coded_apart)
    change = rows_of(outcome)["recoded"]["auc_change"]
    assert rows_of(outcome)["original"]["auc"].value == 1.0
    assert rows_of(outcome)["recoded"]["auc"].value < 0.75
    assert change.value < -0.25
    assert change.high < 0
    assert outcome.metrics["recoded_change"] == outcome.metrics["recoded_change_worst_source"] == change.value
    lowest = min(rows_of(outcome)[name]["auc"].value for name in ("jpeg_50", "resize_half", "blur_1"))
    assert outcome.metrics["mild_change"] == lowest - 1.0


def test_a_detector_that_reads_the_picture_is_not(coded_apart):
    for file in Path(coded_apart.path).glob("fake/*"):
        Image.fromarray(decode(file).pixels // 2 + 100).save(file, quality=40)
    for file in Path(coded_apart.path).glob("real/*"):
        Image.fromarray(decode(file).pixels // 2).save(file)
    outcome = measure(Judge(brightness), coded_apart)
    assert {row["auc"].value for row in rows_of(outcome).values()} == {1.0}
    assert outcome.metrics["recoded_change"] == 0.0
    assert outcome.metrics["mild_change"] == 0.0
    assert outcome.metrics["auc_lowest_variant"] == 1.0


def test_the_change_is_paired_and_over_pictures_scored_both_times(coded_apart):
    rng = np.random.default_rng(3)
    shape = 16, len(variants.QUICK)
    scores = rng.random(shape)
    missing = np.zeros(shape, dtype=bool)
    missing[rng.choice(16, 4, replace=False), 0] = True
    missing[rng.choice(16, 4, replace=False), -1] = True

    class Scripted(Judge):
        def stream(self, inputs):
            for score, absent, _ in zip(scores.ravel(), missing.ravel(), inputs, strict=True):
                yield Result("x", "no_face" if absent else "fake", None if absent else score, (), "s", "trained")

    outcome = measure(Scripted(None), coded_apart)
    fake = np.repeat((1, 0), 8)  # image folders list "fake" first
    both = ~missing[:, 0] & ~missing[:, -1]
    expected = metrics.roc_auc(fake[both], scores[both, -1]) - metrics.roc_auc(fake[both], scores[both, 0])
    change = rows_of(outcome)["recoded"]["auc_change"]
    assert change.value == pytest.approx(expected)
    assert change.low < expected < change.high
    row = next(row for row in outcome.sources if row.variant == "recoded")
    assert row.no_face_rate == pytest.approx(4 / 16)
    assert row.metrics["auc"].value == pytest.approx(
        metrics.roc_auc(fake[~missing[:, -1]], scores[~missing[:, -1], -1])
    )


def test_a_file_that_cannot_be_read_is_an_error_in_every_variant_and_ends_nothing(coded_apart):
    (Path(coded_apart.path) / "real" / "0.png").write_bytes(b"no picture")
    outcome = measure(Judge(blockiness), coded_apart)
    assert {row.variant: row.error_rate for row in outcome.sources} == dict.fromkeys(variants.QUICK, 1 / 16)


def test_videos_are_left_out_and_counted(coded_apart, tmp_path):
    (Path(coded_apart.path) / "real" / "clip.mp4").write_bytes(b"video")
    outcome = measure(Judge(blockiness), coded_apart)
    assert outcome.conditions["videos"] == "left out: 1"
    assert outcome.dataset.samples == 16
    (tmp_path / "clips" / "real").mkdir(parents=True)
    (tmp_path / "clips" / "real" / "clip.mp4").write_bytes(b"video")
    with pytest.raises(TrainingDataError, match="only videos"):
        measure(Judge(blockiness), DatasetRef(name="v", layout="image-folder", path=str(tmp_path / "clips")))


def test_fakes_alone_have_no_auc_and_no_change(coded_apart):
    for file in Path(coded_apart.path).glob("real/*"):
        file.unlink()
    (Path(coded_apart.path) / "real").rmdir()
    outcome = measure(Judge(blockiness), coded_apart)
    assert outcome.metrics == {}
    assert {row["auc_change"].value for row in rows_of(outcome).values()} == {None}
    assert all(0 <= row["fakes_found"].value <= 1 for row in rows_of(outcome).values())


def test_predictions_name_the_variant(coded_apart, tmp_path):
    file = tmp_path / "out" / "scores.csv"
    measure(Judge(blockiness), coded_apart, predictions=str(file), limit=1)
    rows = file.read_text().splitlines()
    assert len(rows) == 1 + 2 * len(variants.QUICK)
    assert sum(",jpeg_30," in row for row in rows) == 2


def test_what_the_variants_do():
    pixels = picture(0, side=180)[:120]
    image = Image.open(io.BytesIO(variants.jpeg(pixels, 50)))
    assert image.format == "JPEG"
    assert image.layer[0][1:3] == (2, 2)  # chroma at half the resolution: 4:2:0
    assert variants.scaled(pixels, 0.5).shape == (60, 90, 3)
    assert Image.open(io.BytesIO(variants.recoded(pixels))).size == (256, 171)
    steps = [np.abs(np.diff(variants.blurred(pixels, s).astype(float), axis=0)).mean() for s in (0.3, 1.0, 2.0)]
    assert steps[0] > steps[1] > steps[2]


def test_a_picture_too_long_for_a_jpeg_is_not_coded():
    assert variants.jpeg(np.zeros((1, 70_000, 3), np.uint8), 90) == b""
    assert variants.scaled(np.zeros((1, 1, 3), np.uint8), 0.5).shape == (1, 1, 3)


def test_every_variant_of_the_full_list_is_a_picture_of_its_own():
    pixels = picture(3, side=800)[:600]  # larger than the tiers, which are JPEG alone otherwise
    changes, left_out = variants.variants("full")
    seen = {}
    for name, change in changes.items():
        given = change(pixels.copy())
        again = change(pixels.copy())
        seen[name] = decode(given).pixels if isinstance(given, bytes) else given
        assert (given == again) if isinstance(given, bytes) else np.array_equal(given, again), name
        assert seen[name].dtype == np.uint8, name
    assert set(variants.QUICK) < set(changes)
    assert len({pixels.tobytes() for pixels in seen.values()}) == len(changes)
    assert not left_out or "Pillow" in left_out["left out"]
    assert {"webp_50", "noise_0.05", "resize_64_lanczos", "screenshot", "web", "hard", "jpeg_10"} <= set(changes)


@pytest.mark.parametrize("family", ["jpeg", "webp", "avif", "blur", "noise"])
def test_a_stronger_change_goes_further_from_the_picture(family):
    pixels = picture(4, side=240)
    changes, _ = variants.variants("full")
    strengths = {float(name.split("_")[1]): name for name in changes if name.startswith(f"{family}_")}
    if not strengths:
        pytest.skip("this Pillow cannot write it")
    errors = []
    for strength in sorted(strengths, reverse=family in ("jpeg", "webp", "avif")):
        changed = changes[strengths[strength]](pixels)
        changed = decode(changed).pixels if isinstance(changed, bytes) else changed
        errors.append(float(np.mean((changed.astype(float) - pixels) ** 2)))
    assert len(errors) > 2
    assert errors == sorted(errors)


def test_noise_is_of_the_stated_share_and_another_for_another_picture():
    grey = np.full((200, 200, 3), 128, np.uint8)
    grain = variants.noisy(grey, 0.05).astype(float) - 128
    assert grain.std() == pytest.approx(0.05 * 255, rel=0.02)
    assert grain.mean() == pytest.approx(0, abs=0.2)
    other = variants.noisy(grey + 1, 0.05).astype(float) - 129
    assert abs(np.corrcoef(grain.ravel(), other.ravel())[0, 1]) < 0.02


def test_small_pictures_are_never_enlarged():
    small = picture(5, side=100)
    assert variants.through(small, 112, "bicubic") is small
    assert variants.through(small, 64, "nearest").shape == small.shape
    assert len(np.unique(variants.through(small, 10, "nearest"), axis=0)) <= 10
    assert decode(variants.tier(small, "hard")).pixels.shape == small.shape
    wide = picture(6, side=900)[:300]
    assert decode(variants.tier(wide, "web")).pixels.shape == (256, 768, 3)
    assert decode(variants.tier(wide, "hard")).pixels.shape == (171, 512, 3)


def test_a_screenshot_has_bars_above_and_below():
    pixels = decode(variants.screenshot(picture(7, side=400))).pixels
    assert pixels.shape == (360 + 2 * 29, 360, 3)
    assert np.unique(np.concatenate([pixels[:12], pixels[-8:]])).tolist() == [38]


def test_without_avif_its_variants_are_left_out_with_the_reason(monkeypatch):
    Image.init()
    monkeypatch.delitem(Image.SAVE, "AVIF", raising=False)
    changes, left_out = variants.variants("full")
    assert not any(name.startswith("avif") for name in changes)
    assert left_out["left out"].startswith("avif_60, avif_40, avif_20: this Pillow")
    assert variants.variants("quick")[1] == {}


def test_the_full_list_is_measured_when_it_is_asked_for(coded_apart, monkeypatch):
    few = ("original", "recoded", "webp_50", "noise_0.05", "screenshot")
    monkeypatch.setattr(variants, "FULL", {name: variants.FULL[name] for name in few})
    outcome = measure(Judge(brightness), coded_apart, limit=2, variants="full")
    names = {row.variant for row in outcome.sources}
    assert names == set(few)
    assert {f"auc_{name}" for name in names} <= outcome.metrics.keys()
    assert outcome.conditions["list"].startswith("full, 5 variants")
    assert {"webp", "noise", "screenshot"} <= outcome.conditions.keys()
    assert "webp" not in measure(Judge(brightness), coded_apart, limit=2).conditions


def test_a_limit_takes_files_evenly_of_each_source_and_class(coded_apart):
    everything = list(read_dataset(coded_apart))
    few = list(read_dataset(coded_apart, 3))
    assert [sample.is_fake for sample in few] == [True] * 3 + [False] * 3
    assert [everything.index(sample) for sample in few] == [0, 2, 5, 8, 10, 13]
    assert list(read_dataset(coded_apart, 99)) == everything
    assert (
        measure(Judge(blockiness), coded_apart, limit=2).dataset.note
        == "at most 2 files or videos of each source and class"
    )


# ── the untrained probe ──────────────────────────────────────────────────────────────────────────────────────


def test_the_probe_finds_what_a_direction_tells_and_nothing_in_noise():
    pytest.importorskip("sklearn")
    from deepfake_bench.scenarios.untrained_probe import out_of_fold

    rng = np.random.default_rng(0)
    fake = np.arange(200) % 2
    features = rng.normal(size=(200, 30))
    groups = np.array([f"{index}" for index in range(200)])
    noise = out_of_fold(features, fake, groups)
    assert 0.35 < metrics.roc_auc(fake, noise) < 0.65
    features[:, 4] += 3 * fake
    assert metrics.roc_auc(fake, out_of_fold(features, fake, groups)) > 0.95


def test_the_probe_never_sees_the_group_that_it_judges():
    pytest.importorskip("sklearn")
    from deepfake_bench.scenarios.untrained_probe import out_of_fold

    rng = np.random.default_rng(1)
    # Frames of one video are alike; the class cannot be told across videos.
    videos = rng.normal(size=(40, 60))
    features = np.repeat(videos, 10, axis=0) + 0.01 * rng.normal(size=(400, 60))
    fake, groups = np.repeat(np.arange(40) % 2, 10), np.repeat(np.arange(40).astype(str), 10)
    assert metrics.roc_auc(fake, out_of_fold(features, fake, groups)) < 0.75


def test_the_probe_measures_each_source_that_is_large_enough(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from deepfake_bench.scenarios import untrained_probe
    from deepfake_core.handle.results import FaceResult
    from deepfake_core.inputs.boxes import Box
    from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize

    for source, count in {"large": 12, "small": 4}.items():
        for label in ("real", "fake"):
            (tmp_path / source / label).mkdir(parents=True)
            for index in range(count):
                (tmp_path / source / label / f"{index}.png").touch()

    spec = PreprocessSpec(resize=Resize(height=16, width=16), normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1)))

    class Network:
        manifest = SimpleNamespace(name="net", preprocess=spec)

        class detector:
            @staticmethod
            def build():
                layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
                return torch.nn.Sequential(*layers, torch.nn.Linear(8, 1))

        def stream(self, paths, *, keep_crops, **options):
            for source in paths:
                path = Path(source.data)
                level = 150 if path.parent.name == "fake" else 100
                crop = np.full((16, 16, 3), level + int(path.stem), np.uint8)
                face = FaceResult(Box(0, 0, 9, 9), 0.9, 0.0, 0.5, "unsure", crop=crop)
                yield Result(str(path), "unsure", 0.5, (face,), "net", "trained")

    reference = DatasetRef(name="x", layout="image-folder", path=str(tmp_path))
    outcome = untrained_probe.measure(Network(), Job(detector="net", scenario="untrained_probe", dataset=reference))
    found = {(row.variant, row.source): row.metrics["auc"].value for row in outcome.sources}
    for probe in ("network", "pixels"):
        assert found[probe, "large"] > 0.95
        assert found[probe, "small"] is None
        assert outcome.metrics[f"auc_{probe}"] == found[probe, "large"]

    class Convolutions(Network):
        class detector:
            @staticmethod
            def build():
                return torch.nn.Sequential(torch.nn.Conv2d(3, 1, 16), torch.nn.Flatten())

    job = Job(detector="net", scenario="untrained_probe", dataset=reference)
    outcome = untrained_probe.measure(Convolutions(), job)
    assert {row.variant for row in outcome.sources} == {"pixels"}
    assert outcome.metrics.keys() == {"auc_pixels"}
    assert outcome.conditions["network"] == "left out: the network has no linear layer"

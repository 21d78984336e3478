"""The attack with the network in hand, on a network whose answer can be computed by hand."""

from __future__ import annotations

import csv
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepfake_bench.cli.output.tables import show_report
from deepfake_bench.records.dataset import DatasetRef
from deepfake_bench.records.job import Job
from deepfake_bench.report.html import page as report_page
from deepfake_bench.runner.worker import run_job
from deepfake_bench.scenarios import attack
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_core.errors import TrainingDataError
from deepfake_core.handle.results import FaceResult, Result
from deepfake_core.inputs.boxes import Box
from deepfake_core.inputs.decode import decode
from deepfake_core.runtimes.base import Outputs
from deepfake_registry.manifest import Calibration, Normalize, PreprocessSpec, Resize

SIDE = 16


class Brightness(nn.Module):
    """The brighter, the more fake: one level of 255 is worth 0.5 of a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(127.5))

    def forward(self, images):
        return self.scale * (images.mean((1, 2, 3)) - 0.5), images[:, 0]


class Judge:
    """A detector of brightness, whose network is the one above."""

    training_groups = None
    manifest = SimpleNamespace(
        calibration=Calibration(),
        preprocess=PreprocessSpec(
            resize=Resize(height=SIDE, width=SIDE), normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1))
        ),
    )

    def __init__(self) -> None:
        self.network = Brightness()

    def score(self, images, *, batch_size=None):
        return Outputs(((images.mean((1, 2, 3)) - 127.5) / 2).astype(np.float32))

    def stream(self, inputs, *, keep_crops, **options):
        assert keep_crops
        for item in inputs:
            crop = decode(item.data).pixels
            logit = float(self.score(crop[None]).logit[0])
            p_fake = self.manifest.calibration.p_fake(logit)
            verdict = self.manifest.calibration.verdict(p_fake)
            face = FaceResult(Box(0, 0, SIDE, SIDE), 1.0, logit, p_fake, verdict, crop=crop)
            yield Result(item.name, verdict, p_fake, (face,), "judge 1", "trained")


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def faces(tmp_path) -> DatasetRef:
    """Reals of brightness 124 or 125, fakes of 130 or 131: six levels apart."""
    rng = np.random.default_rng(0)
    for label, level in {"real": 124, "fake": 130}.items():
        (tmp_path / label).mkdir()
        for index in range(8):
            grain = rng.integers(-20, 21, (SIDE // 2, SIDE, 3))
            picture = level + index % 2 + np.concatenate([grain, -grain])
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / label / f"{index}.png")
    return DatasetRef(name="faces", layout="image-folder", path=str(tmp_path))


def test_every_pixel_goes_as_far_as_it_may_in_the_worst_direction():
    judge = Judge()
    crops = np.random.default_rng(1).integers(10, 246, (11, SIDE, SIDE, 3)).astype(np.uint8)
    fake = np.arange(11) % 2
    model, changed = attack.whole_network(judge, 1), None
    for levels in attack.LEVELS:
        changed = attack.attacked(model, crops, fake, levels, changed)
        expected = np.where(fake == 1, -levels, levels)[:, None, None, None]
        assert np.array_equal(changed.astype(int) - crops, np.broadcast_to(expected, crops.shape))
    assert all(parameter.grad is None for parameter in judge.network.parameters())


def test_the_ranking_falls_under_attack_and_not_under_noise(faces):
    outcome = attack.measure(Judge(), Job(detector="x", scenario="attack", dataset=faces, threads=1))
    found = outcome.metrics
    assert found["auc_clean"] == found["auc_random_4"] == found["auc_pgd_1"] == found["auc_pgd_2"] == 1.0
    assert found["auc_pgd_4"] == 0.0  # 4 levels each way are more than the six between them
    assert found["auc_change_random_4"] == 0.0
    assert found["auc_change_pgd_4"] == -1.0
    assert found["fakes_found_clean"] == 1.0
    assert found["fakes_found_pgd_4"] == 0.0
    assert {row.variant for row in outcome.sources} == {"clean", "random_4", "pgd_1", "pgd_2", "pgd_4"}
    scenario = SCENARIOS["attack"]
    assert {scenario.headline, *scenario.also} <= found.keys()
    assert not scenario.by_default
    assert torch.get_num_threads() == 1


def test_it_says_what_the_figures_are_made_on_and_how_sure_they_are(faces, tmp_path):
    scores = tmp_path / "scores.csv"
    job = Job(detector="x", scenario="attack", dataset=faces, threads=1, limit=3, predictions=str(scores))
    outcome = attack.measure(Judge(), job)
    name = outcome.sources[0].source
    assert outcome.dataset.samples == 6
    assert f"6, the deciding one of each file that has any, of 6 files: {name} 3 real and 3 fake" in outcome.conditions[
        "faces"
    ]  # fmt: skip
    for row in outcome.sources:
        assert (row.real, row.fake) == (3, 3)
        assert row.metrics["auc"].low is not None
        assert row.metrics["auc_change"].high is not None
    with scores.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fake"] == "1"]
    # One level of 255 is half a logit.
    logits = {
        variant: [float(row["logit"]) for row in rows if row["variant"] == variant] for variant in ("clean", "pgd_2")
    }
    assert np.subtract(logits["clean"], logits["pgd_2"]) == pytest.approx(1.0, abs=1e-3)


def test_no_face_at_all_is_an_error_that_names_the_dataset(faces, monkeypatch):
    def none(self, inputs, **options):
        for item in inputs:
            yield Result(str(item), "no_face", None, (), "judge 1", "trained")

    monkeypatch.setattr(Judge, "stream", none)
    with pytest.raises(TrainingDataError, match=f"{faces.path}: no face"):
        attack.measure(Judge(), Job(detector="x", scenario="attack", dataset=faces, threads=1))


def test_an_exported_file_has_no_gradients_and_is_skipped(tiny, faces):
    row = run_job(Job(detector=tiny, scenario="attack", dataset=faces))
    assert row.status == "skipped"
    assert "exported file only" in row.reason


def test_without_weights_it_is_skipped(tiny, faces):
    row = run_job(Job(detector="from-hub", scenario="attack", dataset=faces))
    assert row.status == "skipped"
    assert row.reason


def test_without_torch_it_is_skipped_with_the_line_that_installs_it(tiny, faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    row = run_job(Job(detector=tiny, scenario="attack", dataset=faces))
    assert row.status == "skipped"
    assert "pip install 'deepfake-core[torch]'" in row.reason


def test_page_and_terminal_show_each_bound_with_its_interval(faces, report_of, measured, capsys):
    found = attack.measure(Judge(), Job(detector="x", scenario="attack", dataset=faces, threads=1))
    row = measured(
        "attack",
        metrics=found.metrics,
        sources=[source.model_dump() for source in found.sources],
        dataset=found.dataset.model_dump(),
        conditions=found.conditions,
    )
    page = report_page.html([report_of(row)])
    show_report(report_of(row))
    shown = capsys.readouterr().out
    assert "Under attack" in page
    for words in ("random ± 4", "PGD ± 2", "AUC of 16 faces", "at most 8 files or videos of each source and class"):
        assert words in page, words
    for words in ("random_4", "pgd_2", "8/8", "at most 8 files or videos of each source and class"):
        assert words in shown, words
    for text in (re.sub("<[^>]*>", "", page), shown):
        assert text.count("0.000 [0.000, 0.369]") == text.count("1.000 [0.631, 1.000]") // 4 > 0

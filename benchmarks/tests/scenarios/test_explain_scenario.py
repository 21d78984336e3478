"""Faithfulness: a map that names what the score hangs on beats random order, and one that does not loses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.job import Job
from deepfake_bench.runner.worker import run_job
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_bench.scenarios.explain import CELLS, insertion_deletion, random_heat
from deepfake_core.explainers import load_explainer
from deepfake_core.loading.load import load
from deepfake_core.runtimes.base import Outputs
from deepfake_registry.manifest import Calibration

SIDE = 56


class Sharp:
    """Sharp stripes in one place speak for a fake."""

    manifest = SimpleNamespace(calibration=Calibration())

    def score(self, images):
        place = images[:, 8:24, 8:24].astype(np.float32).mean(-1)
        return Outputs((place.std(axis=2).mean(axis=1) / 5 - 5).astype(np.float32))


@pytest.fixture
def crop():
    picture = np.full((SIDE, SIDE, 3), 128, np.uint8)
    picture[:, ::2] = 0
    return picture


def test_a_true_map_beats_random_and_a_false_one_loses(crop):
    true = np.zeros((SIDE, SIDE), np.float32)
    true[8:24, 8:24] = 1
    faithful, random, misleading = (
        np.subtract(*insertion_deletion(Sharp(), crop, heat, "fake"))
        for heat in (true, random_heat(SIDE, SIDE, 0), -true)
    )
    assert faithful > 0.5
    assert abs(random) < 0.4
    assert misleading < -0.5
    for_real = np.subtract(*insertion_deletion(Sharp(), crop, true, "real"))
    assert for_real == pytest.approx(-faithful, abs=1e-5)


def test_a_map_that_argues_for_fakes_alone_is_held_to_that(tiny, monkeypatch):
    from deepfake_bench.scenarios import explain

    asked = []
    whole = explain.insertion_deletion
    monkeypatch.setattr(
        explain, "supported", lambda detector, face: ({"evidence": load_explainer("evidence", detector)}, {})
    )
    monkeypatch.setattr(explain, "insertion_deletion", lambda d, c, h, t: asked.append(t) or whole(d, c, h, t))
    detector = load(tiny)
    real = detector.manifest.calibration.model_copy(
        update={"threshold": 0.999, "unsure_low": 0.999, "unsure_high": 0.999}
    )
    detector.manifest = detector.manifest.model_copy(update={"calibration": real})
    explain.measure(detector, Job(detector=tiny, scenario="explain", dataset=PLUMBING, limit=1))
    assert asked == ["real", "real", "real", "fake"] * 2, "random orders for the predicted class, evidence for fakes"


def test_areas_are_probabilities_and_ties_do_not_depend_on_their_place(crop):
    flat = np.zeros((SIDE, SIDE), np.float32)
    insertion, deletion = insertion_deletion(Sharp(), crop, flat, "fake")
    assert 0 <= min(insertion, deletion) <= max(insertion, deletion) <= 1
    upside_down = insertion_deletion(Sharp(), crop, flat[::-1], "fake")
    assert upside_down == (insertion, deletion)


def test_random_orders_are_squares():
    heat = random_heat(224, 200, seed=3)
    assert heat.shape == (224, 200)
    assert len(np.unique(heat)) == CELLS * CELLS
    assert len(np.unique(heat[:16, :14])) == 1
    np.testing.assert_array_equal(heat, random_heat(224, 200, seed=3))
    assert not np.array_equal(heat, random_heat(224, 200, seed=4))


def test_the_scenario_measures_what_a_model_file_supports(tiny, monkeypatch):
    from deepfake_core.explainers.perturb import Rise

    monkeypatch.setattr(Rise, "count", 20)
    assert not SCENARIOS["explain"].by_default
    found = run_job(Job(detector=tiny, scenario="explain", dataset=PLUMBING, limit=2))
    assert found.status == "measured", found.reason
    assert found.dataset is not None
    assert found.dataset.samples == len(found.samples["gain_occlusion"]) == 4
    for name in ("evidence", "occlusion", "rise"):
        assert found.metrics[f"seconds_{name}"] > 0
        assert found.metrics[f"gain_{name}"] == pytest.approx(np.mean(found.samples[f"gain_{name}"]))
        assert found.metrics[f"gain_low_{name}"] <= found.metrics[f"gain_{name}"] <= found.metrics[f"gain_high_{name}"]
    assert found.metrics["faithfulness_best"] == max(
        value for name, value in found.metrics.items() if name.startswith("faithfulness_") and "random" not in name
    )
    assert "left out: gradcam" in found.conditions
    assert "plumbing" in found.dataset.name

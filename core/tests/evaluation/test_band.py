"""The upper end of the abstention band, and what a package keeps about its calibration."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.band import FEWEST, allowed, independent, most, upper_end
from deepfake_core.evaluation.calibration import balanced_weights, fit_calibration
from deepfake_core.evaluation.validated import concerns, summary, validated
from deepfake_registry.manifest import Calibration


def families(**sizes: int) -> np.ndarray:
    return np.repeat(list(sizes), list(sizes.values()))


@pytest.mark.parametrize(("count", "many"), [(58, -1), (FEWEST, 0), (93, 1), (200, 4), (1000, 38)])
def test_as_many_faces_may_lie_above_as_the_interval_allows(count: int, many: int) -> None:
    assert allowed(count) == many
    assert most((many + 1) / count, count) > 0.05
    assert many < 0 or most(many / count, count) <= 0.05


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    assert most(0.0, 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert most(0.1, 20) == pytest.approx(0.2826, abs=1e-4)
    assert most(1.0, 7) == 1.0


def test_no_more_faces_lie_above_the_band_than_allowed_on_the_worst_source() -> None:
    p = np.random.default_rng(0).uniform(0, 0.9, 400)
    family = families(calm=200, alarming=200)
    p[200:] += 0.08
    end = upper_end(p, family)
    assert end.source == "alarming"
    assert (p[200:] >= end.p_fake).sum() == 4
    assert end.too_few == ()


def test_equal_scores_do_not_slip_through() -> None:
    p = np.repeat([0.2, 0.7], [90, 10])
    assert (p >= upper_end(p, families(a=100)).p_fake).sum() == 0


def test_frames_of_one_video_count_once() -> None:
    p = np.linspace(0, 0.9, 600)
    alone, videos = upper_end(p, families(a=600)), upper_end(p, families(a=600), np.arange(600) // 10)
    assert videos.p_fake > alone.p_fake
    assert (p >= videos.p_fake).sum() == 0
    assert independent(np.arange(600)[videos.places] // 10) == 60


def test_small_sources_are_pooled_and_else_named() -> None:
    p = np.linspace(0, 0.8, 200)
    family = families(large=120, few=40, fewer=40)
    pooled = upper_end(p, family)
    assert pooled.source == "few + fewer"
    assert (p >= pooled.p_fake).sum() == 0
    assert pooled.too_few == ()
    end = upper_end(p[:150], family[:150])
    assert (end.source, end.too_few) == ("few", ("few",))
    assert (p[120:150] >= end.p_fake).mean() <= 2 / 30


def test_a_small_source_of_alarms_is_not_diluted_by_its_pool() -> None:
    p = np.concatenate([np.full(200, 0.1), np.tile([0.1, 0.9], 10)])
    end = upper_end(p, families(calm=100, other=50, also=50, loud=20))
    assert end.p_fake > 0.9


def test_the_band_never_ends_above_its_largest_end() -> None:
    assert upper_end(np.full(100, 0.9999), families(a=100)).p_fake == 0.99
    assert upper_end(np.full(100, 0.01), families(a=100)).p_fake == 0.5


@pytest.fixture
def figures() -> tuple[dict, tuple]:
    rng = np.random.default_rng(3)
    fake = np.repeat([0.0, 1.0], [300, 300])
    logit = rng.normal(3 * fake - 1.5, 1.5) * 4
    family = np.concatenate([families(a=240, b=60), families(a=200, c=100)])
    calibration = fit_calibration(logit, fake, family, "made")
    return validated(logit, fake, family, calibration), (logit, fake, family, calibration)


def test_the_figures_are_those_of_the_scores(figures: tuple[dict, tuple]) -> None:
    found, (logit, fake, family, calibration) = figures
    p = 1 / (1 + np.exp(-(logit / calibration.temperature + calibration.bias)))
    weight = balanced_weights(fake, family)
    assert found["calibration"]["ece_after"] == pytest.approx(metrics.ece(fake, p, weight=weight), abs=1e-4)
    assert found["calibration"]["ece_after"] < found["calibration"]["ece_before"]
    assert list(found["false_alarms"]) == ["a", "b"]
    assert list(found["found"]) == ["a", "c"]
    here = (fake < 0.5) & (family == "a")
    alarms = found["false_alarms"]["a"]
    assert (alarms["n"], alarms["groups"]) == (240, 240)
    assert alarms["share"] == pytest.approx((p[here] >= calibration.unsure_high).mean(), abs=1e-4)
    assert alarms["at_threshold"] == pytest.approx((p[here] >= 0.5).mean(), abs=1e-4)
    assert alarms["low"] < alarms["share"] < alarms["high"] or alarms["share"] == alarms["low"] == 0


def test_the_deciding_source_and_its_bound_are_stated(figures: tuple[dict, tuple]) -> None:
    found, _ = figures
    band = found["calibration"]["band"]
    assert band["decided_by"] in ("a", "b")
    assert band["holds"] == (band["upper"] <= 0.05)
    assert band["holds"]
    assert f"of the real faces of {band['decided_by']}, which decide the band" in summary(found)
    assert json.loads(json.dumps(found)) == found


def test_a_band_that_cannot_hold_says_so() -> None:
    fake, family = np.repeat([0.0, 1.0], 2000), np.repeat(["calm", "loud", "x"], [1900, 100, 2000])
    logit = np.concatenate([np.full(1900, -9.0), np.tile([-9.0, 9.0], 50), np.full(2000, 9.0)])
    steep = Calibration(temperature=0.5, unsure_high=0.99)
    band = validated(logit, fake, family, steep)["calibration"]["band"]
    assert (band["decided_by"], band["share"], band["holds"]) == ("loud", 0.5, False)


def test_what_is_wrong_with_a_calibration_is_said_with_a_remedy(figures: tuple[dict, tuple]) -> None:
    found, _ = figures
    band = found["calibration"]["band"]
    sound = {**found, "calibration": {**found["calibration"], "ece_after": 0.02, "band": {**band, "holds": True}}}
    assert concerns(sound) == []
    off = {**found, "calibration": {**sound["calibration"], "ece_after": 0.2}}
    assert "off by 0.200" in concerns(off)[0]
    loud = {**found, "calibration": {**sound["calibration"], "band": {**band, "holds": False, "upper": 0.3}}}
    assert "30.0% with 95 % confidence" in concerns(loud)[0]


def test_too_few_faces_are_named() -> None:
    logit, fake, family = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0.0, 0, 1, 1]), np.full(4, "tiny")
    found = validated(logit, fake, family, fit_calibration(logit, fake, family, "made"))
    assert found["calibration"]["band"]["too_few"] == ["tiny"]
    assert not found["calibration"]["band"]["holds"]
    (said,) = concerns(found)
    assert "too few real faces to bound false alarms on tiny" in said

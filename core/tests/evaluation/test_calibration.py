"""Calibration on data that a logit separates, that are few, or whose logits are huge: no certainty, no overflow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.calibration import evidence_limit, fit_calibration
from deepfake_registry.manifest import Calibration

SEPARATED = [-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0]
LABELS = [0] * 4 + [1] * 4


def fitted(logit: list[float] | np.ndarray, fake: list[int] | np.ndarray) -> Calibration:
    return fit_calibration(np.asarray(logit, float), np.asarray(fake, float), np.full(len(fake), "a"), "made")


def test_one_real_face_in_twenty_has_evidence_above_the_limit() -> None:
    strongest = np.linspace(-3, 1, 1000)
    same = evidence_limit(strongest, np.full(1000, "a"))
    assert same == pytest.approx(1 / (1 + math.exp(-0.8)), abs=0.002)
    # A source with few faces counts as much as one with many.
    family = np.where(strongest > 0.9, "few", "many")
    assert evidence_limit(strongest, family) > same
    assert evidence_limit(np.full(3, -80.0), np.full(3, "a")) > 0
    assert evidence_limit(np.full(3, 80.0), np.full(3, "a")) < 1


def test_few_separated_logits_give_no_certainty() -> None:
    found = fitted(SEPARATED, LABELS)
    p = np.array([found.p_fake(value) for value in SEPARATED])
    assert 0.05 < p.min() < p.max() < 0.95
    # The condition of the maximum with Platt's targets, 1 / (n + 2) and (n + 1) / (n + 2).
    assert np.dot(p - np.repeat([1 / 6, 5 / 6], 4), SEPARATED) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("count", [10, 1000, 5000])
def test_the_medians_of_separated_classes_are_as_certain_as_the_targets(count: int) -> None:
    rng = np.random.default_rng(count)
    logit = np.concatenate([rng.uniform(-1, 0, count), rng.uniform(0, 1, count)])  # the ideal slope is infinite
    found = fitted(logit, np.repeat([0, 1], count))
    low, high = (found.p_fake(float(np.median(side))) for side in (logit[:count], logit[count:]))
    assert math.log(high / (1 - high)) - math.log(low / (1 - low)) <= 2 * math.log(count + 1) + 1e-3


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30, 1e290])
@pytest.mark.filterwarnings("error")
def test_the_size_of_logits_does_not_matter(size: float) -> None:
    found = fitted(np.array(SEPARATED) * size, LABELS)
    assert found.temperature == pytest.approx(fitted(SEPARATED, LABELS).temperature * size, rel=1e-4)
    assert found.p_fake(-math.inf) == 0.0
    assert found.p_fake(math.inf) == 1.0


def test_logits_far_from_zero_keep_their_probabilities() -> None:
    found = fitted(np.array(SEPARATED) * 1e-3 + 1e6, LABELS)
    assert found.p_fake(1e6 + 4e-3) == pytest.approx(fitted(SEPARATED, LABELS).p_fake(4.0), abs=1e-3)


def test_a_single_logit_far_away_does_not_decide() -> None:
    rng = np.random.default_rng(0)
    logit = np.concatenate([rng.normal(-1, 1, 500), rng.normal(1, 1, 500)])
    without = fitted(logit, np.repeat([0, 1], 500))
    logit[-1] = 1e9
    assert fitted(logit, np.repeat([0, 1], 500)).temperature == pytest.approx(without.temperature, rel=0.1)


@pytest.mark.parametrize("logit", [[0.0] * 8, [3.5] * 8, [1e300] * 8, SEPARATED[::-1]])
@pytest.mark.filterwarnings("error")
def test_logits_that_tell_nothing_give_no_verdict(logit: list[float]) -> None:
    found = fitted(logit, LABELS)
    assert (found.unsure_low, found.unsure_high) == (0.0, 1.0)
    assert found.p_fake(logit[0]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("labels", [[0] * 8, [1] * 8, []])
def test_one_class_alone_is_refused(labels: list[int]) -> None:
    with pytest.raises(TrainingDataError, match="needs samples of both classes"):
        fitted(SEPARATED[: len(labels)], labels)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(TrainingDataError, match="not finite"):
        fitted([*SEPARATED[:-1], value], LABELS)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(-1e308, 1e308), st.integers(0, 1)), min_size=2, max_size=12))
@pytest.mark.filterwarnings("error")
def test_any_logits_of_both_classes_can_be_calibrated(rows: list[tuple[float, int]]) -> None:
    logit, fake = zip(*rows, strict=True)
    if len(set(fake)) == 2:
        found = fitted(list(logit), list(fake))
        p = [found.p_fake(value) for value in sorted(logit)]
        assert all(0 <= value <= 1 for value in p)
        assert p == sorted(p)

"""The comparison of two detectors on the same files is checked against slow formulas and in simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_core.evaluation import metrics, significance

# Few distinct values, so that ties are the rule.
scores = st.integers(0, 6).map(lambda x: x / 6)
rows = st.lists(st.tuples(st.integers(0, 1), scores, scores), min_size=4, max_size=40).map(
    lambda found: tuple(np.array(column, dtype=np.float64) for column in zip(*found, strict=True))
)
both_classes = rows.filter(lambda data: 2 <= data[0].sum() <= len(data[0]) - 2)


def slow_variance(fake, first, second) -> float:
    """Compute DeLong's variance (DeLong et al. 1988, equations 4 to 6) by comparing every fake with every real."""
    variance = 0.0
    kernels = []
    for score in (first, second):
        x, y = score[fake == 1][:, None], score[fake == 0][None]
        kernels.append((x > y) + 0.5 * (x == y))
    for axis, count in ((1, (fake == 1).sum()), (0, (fake == 0).sum())):
        covariance = np.cov([kernel.mean(axis=axis) for kernel in kernels])
        variance += (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) / count
    return variance


@given(both_classes)
def test_the_fast_algorithm_gives_delongs_variance(data):
    fake, first, second = data
    found = significance.delong(fake, first, second)
    variance = slow_variance(fake, first, second)
    assert found.value == pytest.approx(metrics.roc_auc(fake, second) - metrics.roc_auc(fake, first))
    if math.isnan(found.low):
        assert variance == pytest.approx(0, abs=1e-12)
    else:
        assert (found.high - found.low) / 2 == pytest.approx(1.959964 * math.sqrt(variance), abs=1e-6)


@given(both_classes)
def test_swapping_the_detectors_swaps_the_sign_alone(data):
    fake, first, second = data
    for compare in (
        significance.delong,
        lambda *arrays: significance.grouped_difference(*arrays, np.arange(len(fake)), n=20),
    ):
        one, other = compare(fake, first, second), compare(fake, second, first)
        assert one.value == pytest.approx(-other.value)
        assert one.low == pytest.approx(-other.high, nan_ok=True)
        assert one.p_value == pytest.approx(other.p_value, nan_ok=True)


def test_the_p_value_and_the_interval_agree():
    rng = np.random.default_rng(2)
    for gap in (0.0, 0.2, 0.4, 0.8):
        fake = np.repeat((0, 1), 60)
        first = rng.normal(size=120) + fake
        second = first + rng.normal(size=120) * 0.5 + gap * fake
        found = significance.delong(fake, first, second)
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)


def test_equal_scores_and_one_class_have_no_interval():
    fake, score = [0, 0, 1, 1], [0.1, 0.4, 0.3, 0.9]
    same = significance.delong(fake, score, score)
    assert (same.value, same.method) == (0.0, "DeLong")
    assert math.isnan(same.p_value)
    assert math.isnan(significance.delong([1, 1, 1], [0.1, 0.2, 0.3], [0.1, 0.2, 0.4]).value)
    lone = significance.delong([0, 1, 1], [0.1, 0.2, 0.3], [0.5, 0.2, 0.9])
    assert lone.value == pytest.approx(-0.5)
    assert math.isnan(lone.low)


def test_samples_that_share_a_group_are_drawn_together():
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(40), 8)
    fake = group % 2
    first = fake + np.repeat(rng.normal(size=40), 8)
    second = fake + np.repeat(rng.normal(size=40), 8)
    alone = significance.auc_difference(fake, first, second, np.arange(320))
    together = significance.auc_difference(fake, first, second, group)
    assert (alone.method, together.method) == ("DeLong", "bootstrap")
    assert alone.value == pytest.approx(together.value)
    assert together.high - together.low > 1.8 * (alone.high - alone.low)
    assert together.p_value > alone.p_value


def binomial_band(rate: float, trials: int) -> tuple[float, float]:
    """Return the interval that a share of that many trials leaves about once in 10,000 times."""
    reach = 4 * math.sqrt(rate * (1 - rate) / trials)
    return rate - reach, rate + reach


def test_where_there_is_no_difference_delong_finds_one_at_its_stated_rate():
    rng = np.random.default_rng(4)
    trials, found = 1000, 0
    fake = np.repeat((0, 1), 80)
    for _ in range(trials):
        shared = rng.normal(size=160) + fake
        first, second = (shared + 0.7 * rng.normal(size=160) for _ in range(2))
        found += significance.delong(fake, first, second).p_value < 0.05
    low, high = binomial_band(0.05, trials)
    assert low < found / trials < high


def test_intervals_of_differences_cover_at_their_stated_rate_on_grouped_data():
    rng = np.random.default_rng(5)
    trials, covered, singly = 150, 0, 0
    group = np.repeat(np.arange(80), 5)
    fake = group % 2
    for _ in range(trials):
        video = rng.normal(size=(2, 80))[:, group]
        first, second = (fake + 0.8 * video[which] + 0.6 * rng.normal(size=400) for which in (0, 1))
        drawn = significance.grouped_difference(fake, first, second, group, n=200)
        covered += drawn.low <= 0 <= drawn.high
        wrong = significance.delong(fake, first, second)
        singly += wrong.low <= 0 <= wrong.high
    assert binomial_band(0.95, trials)[0] < covered / trials <= 1
    assert singly / trials < 0.85  # intervals that take frames for independent samples are far too narrow


@pytest.mark.parametrize("short", range(4))
@pytest.mark.parametrize("compare", [significance.auc_difference, significance.grouped_difference])
def test_arrays_of_different_lengths_are_refused(compare, short):
    arrays = [np.arange(8) % 2, np.linspace(0, 1, 8), np.linspace(1, 0, 8), np.arange(8) // 2]
    arrays[short] = arrays[short][:-1]
    with pytest.raises(ValueError, match="equally long"):
        compare(*arrays)

"""Metrics are compared with scikit-learn and torchmetrics, on data with many ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from deepfake_core.evaluation import metrics

# Few distinct values, so that ties are the rule.
scored = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8).map(lambda x: x / 8)), min_size=2, max_size=60).map(
    lambda pairs: (np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs]))
)
two_classes = scored.filter(lambda data: 0 < data[0].sum() < len(data[0]))


@given(two_classes)
def test_rank_measures_agree_with_scikit_learn(data):
    fake, score = data
    assert metrics.roc_auc(fake, score) == pytest.approx(sklearn_metrics.roc_auc_score(fake, score))
    assert metrics.average_precision(fake, score) == pytest.approx(sklearn_metrics.average_precision_score(fake, score))
    fpr, tpr, _ = sklearn_metrics.roc_curve(fake, score, drop_intermediate=False)
    for limit in (0.0, 0.01, 0.05, 0.5, 1.0):
        assert metrics.tpr_at_fpr(fake, score, limit) == pytest.approx(tpr[fpr <= limit].max())


@given(two_classes)
def test_probability_measures_agree_with_scikit_learn(data):
    fake, score = data
    assert metrics.balanced_accuracy(fake, score, 0.5) == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(fake, score >= 0.5)
    )
    assert metrics.brier(fake, score) == pytest.approx(sklearn_metrics.brier_score_loss(fake, score))
    inside = np.clip(score, 0.01, 0.99)
    assert metrics.nll(fake, inside) == pytest.approx(sklearn_metrics.log_loss(fake, inside))


@given(scored, st.integers(0, 8).map(lambda x: x / 8))
def test_measures_at_a_threshold_agree_with_scikit_learn(data, threshold):
    fake, score = data
    said = (score >= threshold).astype(int)
    assert metrics.accuracy(fake, score, threshold) == pytest.approx(sklearn_metrics.accuracy_score(fake, said))
    found = metrics.precision_recall_f1(fake, score, threshold)
    expected = sklearn_metrics.precision_recall_fscore_support(fake, said, average="binary", zero_division=math.nan)
    for ours, theirs, name in zip(found, expected[:3], ("precision", "recall", "f1"), strict=True):
        if not (name == "f1" and math.isnan(theirs)):  # their F1 is undefined if precision or recall is
            assert ours == pytest.approx(theirs, nan_ok=True), name


@pytest.fixture(scope="module")
def torchmetrics():
    """Functions of torchmetrics, which imports torchvision if it is installed."""
    from deepfake_core.runtimes.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    from torchmetrics.functional import classification

    return classification


@pytest.mark.torch
@given(data=two_classes, step=st.integers(0, 7))
def test_measures_agree_with_torchmetrics(torchmetrics, data, step):
    import torch

    fake, score = data
    target, preds = torch.from_numpy(fake), torch.from_numpy(score)
    assert metrics.roc_auc(fake, score) == pytest.approx(float(torchmetrics.binary_auroc(preds, target)), abs=1e-6)
    expected = float(torchmetrics.binary_average_precision(preds, target))
    assert metrics.average_precision(fake, score) == pytest.approx(expected, abs=1e-6)
    between = (step + 0.5) / 8  # a score that equals the threshold is fake for us and real for torchmetrics
    expected = float(torchmetrics.binary_accuracy(preds, target, threshold=between))
    assert metrics.accuracy(fake, score, between) == pytest.approx(expected, abs=1e-6)


@given(two_classes)
def test_the_roc_curve_is_that_of_scikit_learn(data):
    fake, score = data
    fpr, tpr = metrics.roc_curve(fake, score)
    expected_fpr, expected_tpr, _ = sklearn_metrics.roc_curve(fake, score, drop_intermediate=False)
    assert fpr == pytest.approx(expected_fpr)
    assert tpr == pytest.approx(expected_tpr)


@given(st.integers(1, 12).flatmap(lambda each: st.tuples(st.just(each), st.randoms(use_true_random=False))))
def test_the_calibration_error_without_ties_is_that_of_equal_parts(data):
    """Nguyen & O'Connor 2015 define it over 15 parts of equal size, which are unique if there are no ties."""
    each, random = data
    score = np.array(random.sample(range(100_000), 15 * each)) / 100_000
    fake = np.array([random.random() < 0.5 for _ in score], dtype=int)
    parts = np.split(np.argsort(score), 15)
    expected = np.mean([abs(score[part].mean() - fake[part].mean()) for part in parts])
    assert metrics.ece(fake, score) == pytest.approx(expected)


@given(two_classes)
def test_eer_lies_on_the_roc_curve(data):
    fake, score = data
    rate = metrics.eer(fake, score)
    fpr, tpr, _ = sklearn_metrics.roc_curve(fake, score, drop_intermediate=False)
    steps = np.linspace(0, 1, 2001)
    # Among dense points along the edges of the curve, the one nearest to FPR = 1 − TPR has that error rate.
    x = np.concatenate([fpr[i] + steps * (fpr[i + 1] - fpr[i]) for i in range(len(fpr) - 1)])
    y = np.concatenate([tpr[i] + steps * (tpr[i + 1] - tpr[i]) for i in range(len(fpr) - 1)])
    assert rate == pytest.approx(x[np.argmin(np.abs(x + y - 1))], abs=1e-3)


@given(two_classes, st.randoms())
def test_order_of_samples_does_not_matter(data, random):
    fake, score = data
    order = list(range(len(fake)))
    random.shuffle(order)
    for name in ("roc_auc", "average_precision", "eer", "balanced_accuracy", "ece", "brier", "nll"):
        metric = getattr(metrics, name)
        assert metric(fake[order], score[order]) == pytest.approx(metric(fake, score)), name


@given(two_classes)
def test_auc_and_eer_are_symmetric_under_a_swap_of_classes(data):
    fake, score = data
    assert metrics.roc_auc(1 - fake, 1 - score) == pytest.approx(metrics.roc_auc(fake, score))
    assert metrics.eer(1 - fake, 1 - score) == pytest.approx(metrics.eer(fake, score))


@pytest.mark.parametrize("fake", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_gives_nan_for_rank_measures(fake):
    score = [0.2, 0.4, 0.9][: len(fake)]
    for metric in (metrics.roc_auc, metrics.average_precision, metrics.eer, metrics.balanced_accuracy):
        assert math.isnan(metric(fake, score))
    assert math.isnan(metrics.tpr_at_fpr(fake, score, 0.05))
    for metric in (metrics.ece, metrics.brier, metrics.nll):
        assert math.isnan(metric(fake, score)) == (not fake)


def test_ece_of_calibrated_and_of_overconfident_scores():
    rng = np.random.default_rng(0)
    p_fake = rng.random(20_000)
    fake = (rng.random(20_000) < p_fake).astype(int)
    assert metrics.ece(fake, p_fake) < 0.02
    assert metrics.ece(fake, (p_fake > 0.5).astype(float)) == pytest.approx(0.25, abs=0.02)
    assert metrics.ece([0, 1, 1, 1], [0.5] * 4) == pytest.approx(0.25)


def test_bad_input_is_refused():
    for fake, score in [([0, 1], [0.1]), ([0, 2], [0.1, 0.2]), ([0, 1], [0.1, math.nan]), ([[0, 1]], [[0.1, 0.2]])]:
        with pytest.raises(ValueError, match=r"fake|score"):
            metrics.roc_auc(fake, score)


def test_bootstrap_covers_and_widens_with_grouping():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(40), 10)
    fake = (group % 2).astype(int)
    score = fake * 0.5 + np.repeat(rng.normal(size=40), 10)  # samples of a group are copies
    grouped = metrics.grouped_bootstrap(fake, score, group, metrics.roc_auc, n=300)
    single = metrics.grouped_bootstrap(fake, score, np.arange(400), metrics.roc_auc, n=300)
    assert grouped[0] < metrics.roc_auc(fake, score) < grouped[1]
    assert grouped[1] - grouped[0] > 1.5 * (single[1] - single[0])
    assert grouped == metrics.grouped_bootstrap(fake, score, [f"video{g:02d}" for g in group], metrics.roc_auc, n=300)


def test_bootstrap_of_one_group_is_undefined():
    low, high = metrics.grouped_bootstrap([0, 1], [0.1, 0.9], ["a", "a"], metrics.roc_auc)
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize(("videos", "gap"), [(20, 1.2), (60, 0.5), (60, 3.0)])
@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "eer", "balanced_accuracy", "brier"])
def test_intervals_cover_at_their_stated_rate_on_grouped_data(name, videos, gap):
    """The frames of a video have similar scores; the true value comes from a very large sample of the same kind."""
    metric = getattr(metrics, name)
    rng = np.random.default_rng(7)

    def draw(videos: int):
        fake = np.arange(videos) % 2
        logit = (gap * (fake - 0.5) + rng.normal(size=videos))[:, None] + 0.3 * rng.normal(size=(videos, 6))
        return np.repeat(fake, 6), (1 / (1 + np.exp(-logit))).ravel(), np.repeat(np.arange(videos), 6)

    truth = metric(*draw(40_000)[:2])
    trials, grouped, single = 200, 0, 0
    for _ in range(trials):
        fake, score, group = draw(videos)
        low, high = metrics.grouped_bootstrap(fake, score, group, metric, n=100)
        grouped += low <= truth <= high
        low, high = metrics.grouped_bootstrap(fake, score, np.arange(len(fake)), metric, n=100)
        single += low <= truth <= high
    # The coverage may fall short by four binomial standard errors; a higher coverage is safe.
    least = 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials)
    assert least <= grouped / trials
    assert single / trials < least  # intervals from frames drawn one by one are too narrow


def test_a_share_of_all_or_none_has_the_exact_interval():
    for count in (3, 30):
        found = np.ones(count)
        low, high = metrics.grouped_bootstrap(found, found, np.arange(count), lambda _, hit: float(np.mean(hit)))
        assert (low**count, high) == (pytest.approx(0.025), 1.0)
        low, high = metrics.grouped_bootstrap(found, 0 * found, np.arange(count), lambda _, hit: float(np.mean(hit)))
        assert (low, (1 - high) ** count) == (0.0, pytest.approx(0.025))


def test_a_measure_that_no_draw_changes_has_no_interval():
    fake, score = np.repeat((0, 1), 20), np.full(40, 0.1)  # nothing is ever called fake
    assert metrics.balanced_accuracy(fake, score) == 0.5
    assert all(map(math.isnan, metrics.grouped_bootstrap(fake, score, np.arange(40), metrics.balanced_accuracy)))


@pytest.mark.parametrize("share", [0.025, 0.5, 0.9, 0.975, 0.995, 0.9995])
def test_students_quantile_is_that_of_scipy(share):
    stats = pytest.importorskip("scipy.stats")
    for freedom in (*range(1, 60), 100, 1000, 6.9):
        assert metrics.student_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, int(freedom)), rel=1e-4)
    for short in (np.nextafter(1.0, 0.0), np.nextafter(19.0, 0.0)):
        assert metrics.student_quantile(share, short) == pytest.approx(stats.t.ppf(share, round(short)), rel=1e-4)


def test_the_interval_of_a_mean_is_students():
    rng = np.random.default_rng(8)
    values = rng.normal(3.0, 2.0, size=30)
    low, high = metrics.grouped_bootstrap(
        np.zeros(30), values, np.arange(30), lambda _, drawn: float(drawn.mean()), n=20_000, rate=False
    )
    reach = (
        2.0452 * values.std(ddof=1) / math.sqrt(30)
    )  # quantile of Student's distribution with 29 degrees of freedom, from a table
    assert [low, high] == pytest.approx([values.mean() - reach, values.mean() + reach], rel=0.01)


def test_a_weight_counts_like_repeated_samples():
    rng = np.random.default_rng(4)
    fake, score = rng.integers(0, 2, 90), rng.random(90).round(2)
    weight = rng.integers(1, 4, 90)
    repeated = np.repeat(fake, weight), np.repeat(score, weight)
    assert metrics.brier(fake, score, weight=weight) == pytest.approx(metrics.brier(*repeated))
    assert metrics.ece(fake, score, weight=weight) == pytest.approx(metrics.ece(*repeated))
    assert metrics.ece(fake, score, weight=np.full(90, 0.1)) == pytest.approx(metrics.ece(fake, score))


def test_bins_of_the_reliability_diagram_hold_every_sample_once():
    rng = np.random.default_rng(5)
    fake, score = rng.integers(0, 2, 300), rng.random(300)
    p_mean, share, mass = metrics.reliability(fake, score)
    assert len(mass) == 15
    assert mass == pytest.approx(1 / 15)
    assert mass @ p_mean == pytest.approx(score.mean())
    assert mass @ share == pytest.approx(fake.mean())


def test_the_area_under_the_roc_curve_is_the_auc():
    rng = np.random.default_rng(6)
    fake, score = rng.integers(0, 2, 80), rng.random(80).round(1)
    fpr, tpr = metrics.roc_curve(fake, score)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(metrics.roc_auc(fake, score))
    with pytest.raises(ValueError, match="both classes"):
        metrics.roc_curve([1, 1], [0.2, 0.3])

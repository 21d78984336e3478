"""Tests of what compares many scores at once: folds by group, and AUCs with intervals that need no draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepfake_core.evaluation.clustered_auc import clustered_auc
from deepfake_core.evaluation.metrics import grouped_bootstrap, roc_auc
from deepfake_core.evaluation.probes import FOLDS, folds_of


def test_groups_are_dealt_out_whole_and_evenly():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), rng.integers(1, 5, 300))
    fake = np.where(groups < 100, rng.integers(0, 2, len(groups)), groups % 2)  # some groups hold both classes
    fold = folds_of(fake, groups)
    assert all(len(set(fold[groups == group].tolist())) == 1 for group in range(300))
    for label in (0, 1):
        counts = np.bincount(fold[fake == label], minlength=FOLDS)
        assert counts.min() > 0.8 * counts.max()
    assert (folds_of(fake, groups) == fold).all()
    assert (folds_of(fake, groups, seed=1) != fold).any()
    assert (folds_of(fake, np.array([f"{group:03d}" for group in groups])) == fold).all(), "names of any type"


def test_each_fold_has_both_classes_where_there_are_as_many_groups():
    for kinds in ([0] * 5 + [1] * 5, [2] * 5, [2, 2, 2, 0, 0, 1, 1]):
        groups = np.repeat(np.arange(len(kinds)), 2)
        fake = np.array([label for kind in kinds for label in {0: (0, 0), 1: (1, 1), 2: (0, 1)}[kind]])
        fold = folds_of(fake, groups)
        assert all(set(fake[fold == number]) == {0, 1} for number in range(FOLDS)), kinds


@pytest.mark.parametrize("size", [1, 4])
def test_the_interval_agrees_with_a_bootstrap_of_groups(size):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(600 // size), size)
    fake = np.tile([0, 0, 1, 1], 150)
    score = rng.normal(size=600 // size)[groups] + rng.normal(size=600) + 0.6 * fake
    found = clustered_auc(fake, score, groups)
    assert found.value == roc_auc(fake, score)
    assert found.interval() == pytest.approx(grouped_bootstrap(fake, score, groups, roc_auc), abs=0.004)
    assert found.interval(0.999)[0] < found.interval()[0]


def test_ties_count_half_and_the_ends_have_intervals():
    assert clustered_auc([0, 0, 1, 1], [1, 2, 2, 3], [0, 1, 2, 3]).value == 0.875
    sure = clustered_auc(np.repeat([0, 1], 20), np.arange(40), np.arange(40))
    low, high = sure.interval()
    assert (sure.value, high) == (1, 1)
    assert 0.8 < low < 0.9
    few = clustered_auc([0, 0, 1], [1, 2, 3], [0, 1, 2])
    assert few.value == 1
    assert math.isnan(few.error)
    assert all(math.isnan(end) for end in few.interval())

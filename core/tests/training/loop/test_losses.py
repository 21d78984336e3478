"""The loss terms of the core: golden numbers computed by hand, and samples that do not count."""

from __future__ import annotations

import math

import pytest
import torch

from deepfake_core import bce, evidence_bce, evidence_overlap

LOGIT = torch.tensor([0.0, 2.0, -1.0])
FAKE = torch.tensor([1.0, 0.05, 0.95])  # the last two smoothed by 0.1: y·0.9 + 0.05
ONES = torch.ones(3)


def nats(logit: float, fake: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -(fake * math.log(p) + (1 - fake) * math.log(1 - p))


PER_SAMPLE = [nats(0.0, 1.0), nats(2.0, 0.05), nats(-1.0, 0.95)]


def test_cross_entropy_is_the_mean_by_weight():
    assert bce(LOGIT, FAKE, ONES).item() == pytest.approx(sum(PER_SAMPLE) / 3, abs=1e-6)
    assert bce(LOGIT, FAKE, torch.tensor([0.0, 3.0, 1.0])).item() == pytest.approx(
        (3 * PER_SAMPLE[1] + PER_SAMPLE[2]) / 4, abs=1e-6
    )
    assert bce(torch.tensor([0.0]), torch.tensor([1.0]), torch.ones(1)).item() == pytest.approx(math.log(2))


def test_a_batch_without_weight_costs_nothing():
    assert bce(LOGIT, FAKE, torch.zeros(3)).item() == 0.0


def test_the_map_counts_where_the_mask_is_known():
    evidence = torch.tensor([[[0.0, 2.0]], [[1.0, -1.0]]])
    mask = torch.tensor([[[1.0, float("nan")]], [[0.0, 1.0]]])
    value = evidence_bce(evidence, mask, torch.tensor([1.0, 0.5])).item()
    assert value == pytest.approx((nats(0, 1) + 0.5 * (nats(1, 0) + nats(-1, 1))) / 2, abs=1e-6)
    assert evidence_bce(evidence, torch.full_like(mask, float("nan")), torch.ones(2)).item() == 0.0


def test_the_overlap_counts_known_cells_of_known_samples():
    evidence = torch.tensor([[[9e9, -9e9, 9e9]], [[-9e9, -9e9, -9e9]], [[0.0, 0.0, 0.0]]])
    nan = float("nan")
    mask = torch.tensor([[[1.0, 1.0, nan]], [[0.0, 0.0, 0.0]], [[nan, nan, nan]]])
    assert evidence_overlap(evidence, mask, ONES).item() == pytest.approx((1 - 3 / 4) / 2)
    assert evidence_overlap(evidence, mask, torch.tensor([0.0, 1.0, 1.0])).item() == 0.0
    shy = torch.full((1, 8, 8), -3.0)  # says "real" everywhere
    part = torch.zeros(1, 8, 8)
    part[:, :3, :3] = 1
    assert evidence_bce(shy, part, torch.ones(1)) < 0.5
    assert evidence_overlap(shy, part, torch.ones(1)) > 0.8


def test_a_sample_of_weight_zero_changes_nothing():  # resolution 14
    logit = LOGIT.clone().requires_grad_()
    loss = bce(logit, FAKE, torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(loss, bce(LOGIT[:2], FAKE[:2], ONES[:2]))
    loss.backward()
    assert logit.grad[2] == 0

"""RADAR's loss (004-5): golden numbers computed by hand, gradients, and samples that do not count."""

from __future__ import annotations

import math

import pytest
import torch

from deepfake_radar.losses import RadarWeights, branch_bce, deep_supervision, orthogonality, radar_loss

LOGIT = torch.tensor([0.0, 2.0, -1.0])
FAKE = torch.tensor([1.0, 0.05, 0.95])  # the last two smoothed by 0.1: y·0.9 + 0.05
ONES = torch.ones(3)


def nats(logit: float, fake: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -(fake * math.log(p) + (1 - fake) * math.log(1 - p))


PER_SAMPLE = [nats(0.0, 1.0), nats(2.0, 0.05), nats(-1.0, 0.95)]


def test_branches_count_alike():
    value = branch_bce([LOGIT, torch.zeros(3)], FAKE, ONES).item()
    assert value == pytest.approx((sum(PER_SAMPLE) / 3 + math.log(2)) / 2, abs=1e-6)
    with pytest.raises(ValueError, match="at least one branch"):
        branch_bce([], FAKE, ONES)


def test_later_iterations_weigh_more():  # 004-5: linspace(1/3, 1, 3), normalised, is 1/6, 1/3, 1/2
    one = torch.ones(1)
    logits = [torch.tensor([value]) for value in (1.0, 0.0, -1.0)]
    golden = nats(1, 1) / 6 + nats(0, 1) / 3 + nats(-1, 1) / 2
    assert deep_supervision(logits, one, one).item() == pytest.approx(golden, abs=1e-6)
    assert deep_supervision(torch.stack(logits), one, one).item() == pytest.approx(golden, abs=1e-6)
    assert deep_supervision(logits[:1], one, one).item() == pytest.approx(nats(1, 1), abs=1e-6)
    with pytest.raises(ValueError, match="at least one iteration"):
        deep_supervision([], one, one)


@pytest.mark.parametrize(
    ("angle", "golden"), [(0.0, 0.9), (180.0, 0.9), (90.0, 0.0), (85.0, 0.0), (60.0, 0.4), (120.0, 0.4)]
)
def test_likeness_beyond_the_margin_costs(angle, golden):  # 004-5: ReLU(|cos| - 0.1)
    first = torch.tensor([[2.0, 0.0]])
    turned = torch.tensor([[math.cos(math.radians(angle)), math.sin(math.radians(angle))]])
    assert orthogonality(first, 5 * turned, torch.ones(1)).item() == pytest.approx(golden, abs=1e-6)


def test_likeness_of_nothing_is_none_and_has_a_gradient():
    first = torch.zeros(2, 4, requires_grad=True)
    second = torch.randn(2, 4, requires_grad=True)
    loss = orthogonality(first, second, torch.ones(2))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(first.grad).all()
    assert torch.isfinite(second.grad).all()


def radar_inputs(count: int = 5, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Logits of the fusion, of two branches and of three iterations [6, N]; evidence [2, N, 4]."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, count, generator=draw, dtype=dtype, requires_grad=True)
    evidence = torch.randn(2, count, 4, generator=draw, dtype=dtype, requires_grad=True)
    return [logits, evidence]


def radar(logits: torch.Tensor, evidence: torch.Tensor, weight: torch.Tensor, **options) -> torch.Tensor:
    fake = (torch.arange(logits.shape[1]) % 2).to(logits)
    return radar_loss(logits[0], list(logits[1:3]), (evidence[0], evidence[1]), logits[3:], fake, weight, **options)


def test_radar_weighs_its_terms_as_documented():  # 004-5: 1.0, 0.3, 0.1, 0.05
    assert RadarWeights().model_dump() == {"main": 1.0, "branch": 0.3, "orthogonality": 0.1, "supervision": 0.05}
    logits, evidence = radar_inputs()
    weight = torch.ones(5, dtype=torch.float64)
    nothing = dict.fromkeys(RadarWeights.model_fields, 0.0)
    alone = {name: radar(logits, evidence, weight, weights=RadarWeights(**{**nothing, name: 1.0})) for name in nothing}
    assert all(term.item() > 0 for term in alone.values())
    golden = alone["main"] + 0.3 * alone["branch"] + 0.1 * alone["orthogonality"] + 0.05 * alone["supervision"]
    torch.testing.assert_close(radar(logits, evidence, weight), golden)


def test_radar_of_undecided_answers_is_known():
    zeros, half = torch.zeros(4), torch.full((4,), 0.5)
    same = torch.ones(4, 3)
    value = radar_loss(zeros, [zeros, zeros], (same, same), [zeros] * 3, half, torch.ones(4)).item()
    assert value == pytest.approx(1.35 * math.log(2) + 0.1 * 0.9, abs=1e-6)


def test_gradients_are_those_of_the_formula():
    logits, evidence = radar_inputs()
    weight = torch.tensor([1.0, 0.5, 2.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: radar(a, b, weight), (logits, evidence))


def test_a_sample_of_weight_zero_changes_nothing():  # resolution 14
    logits, evidence = radar_inputs()
    weight = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    with_it = radar(logits, evidence, weight)
    torch.testing.assert_close(with_it, radar(logits[:, :4], evidence[:, :4], weight[:4]))
    with_it.backward()
    assert logits.grad[:, 4].abs().max() == 0
    assert evidence.grad[:, 4].abs().max() == 0

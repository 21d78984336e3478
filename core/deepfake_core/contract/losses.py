"""Terms that detectors compose their training loss from.

Targets arrive smoothed (the recipe's ``label_smoothing``) and outputs in float32. Every term is a mean over the samples
weighted by ``weight``, so that a sample of weight 0, such as an image that could not be read, does not count.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of values float32 [N], a scalar.

    Args:
        values: One number per sample, float32 [N].
        weight: Weights of the samples, float32 [N] ≥ 0.

    Returns:
        A scalar; 0 where all weights are 0.
    """
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)


def bce(logit: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Return the binary cross-entropy of logits float32 [N] in nats, a scalar.

    Args:
        logit: Logits float32 [N], positive for fake.
        fake: Targets float32 [N] in [0, 1].
        weight: Weights of the samples, float32 [N] ≥ 0.
    """
    return weighted_mean(F.binary_cross_entropy_with_logits(logit, fake, reduction="none"), weight)


def evidence_bce(evidence: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Return the binary cross-entropy of evidence maps float32 [N, h, w] against blend masks in nats, a scalar.

    Args:
        evidence: Logits float32 [N, h, w], positive for manipulated.
        mask: Masks that the fakes were blended with, float32 [N, h, w] in [0, 1]. Cells that are NaN are unknown and
            do not count.
        weight: Weights of the samples, float32 [N] ≥ 0.
    """
    known = ~torch.isnan(mask)
    target = torch.where(known, mask, torch.zeros_like(mask))
    cells = F.binary_cross_entropy_with_logits(evidence, target, reduction="none")
    weights = known * weight[:, None, None]
    return (cells * weights).sum() / weights.sum().clamp_min(1.0)


def evidence_overlap(evidence: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Return how little evidence maps and blend masks overlap, from 0 to 1: one minus Dice's coefficient, a scalar.

    Most cells of a face are real, and a map that says so everywhere has a low :func:`evidence_bce`; it does not overlap
    (Milletari et al. 2016, arXiv 1606.04797). Use both terms together.

    Args:
        evidence: Logits float32 [N, h, w], positive for manipulated.
        mask: Masks float32 [N, h, w] in [0, 1]. Cells that are NaN are unknown and do not count, nor does a sample that
            has no other ones.
        weight: Weights of the samples, float32 [N] ≥ 0.
    """
    known = ~torch.isnan(mask)
    target = torch.where(known, mask, torch.zeros_like(mask)).flatten(1)
    found = (torch.sigmoid(evidence) * known).flatten(1)
    # One cell more in each, so that an empty map of a real face is right.
    overlap = (2 * (found * target).sum(1) + 1) / (found.sum(1) + target.sum(1) + 1)
    return weighted_mean(1 - overlap, weight * known.flatten(1).any(1))

"""The training loss of RADAR and its terms.

Like the terms of ``deepfake_core``, every term is a mean over the samples weighted by ``weight``, so that a sample of
weight 0, such as an image that could not be read, does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from deepfake_core import bce, weighted_mean


def branch_bce(logits: Sequence[Tensor], fake: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of the cross-entropies of several branches that classify on their own, in nats, a scalar.

    Args:
        logits: One tensor float32 [N] per branch, positive for fake.
        fake: Targets float32 [N] in [0, 1].
        weight: Weights of the samples, float32 [N] ≥ 0.

    Raises:
        ValueError: There is no branch.
    """
    if not logits:
        raise ValueError("needs the logits of at least one branch")
    return torch.stack([bce(logit, fake, weight) for logit in logits]).mean()


def deep_supervision(logits: Sequence[Tensor] | Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of the cross-entropies after each of R reasoning iterations, in nats, a scalar.

    Later iterations weigh more. The weights are ``linspace(1/3, 1, R)`` divided by their sum: 1/6, 1/3 and 1/2 for the
    three iterations of RADAR.

    Args:
        logits: One tensor float32 [N] per iteration in their order, or all of them as [R, N].
        fake: Targets float32 [N] in [0, 1].
        weight: Weights of the samples, float32 [N] ≥ 0.

    Raises:
        ValueError: There is no iteration.
    """
    if not len(logits):
        raise ValueError("needs the logits of at least one iteration")
    terms = torch.stack([bce(logit, fake, weight) for logit in logits])
    shares = torch.linspace(1 / 3, 1, len(logits), device=terms.device, dtype=terms.dtype)
    return (terms * shares).sum() / shares.sum()


def orthogonality(first: Tensor, second: Tensor, weight: Tensor, margin: float = 0.1) -> Tensor:
    """Return the hinge ``ReLU(|cos| - margin)`` that keeps two kinds of evidence from saying the same, a scalar.

    Args:
        first: First kind of evidence, float32 [N, D].
        second: Second kind of evidence, float32 [N, D].
        weight: Weights of the samples, float32 [N] ≥ 0.
        margin: Absolute cosine up to which similarity costs nothing.

    Returns:
        A scalar in [0, 1 - margin].
    """
    return weighted_mean(F.relu(F.cosine_similarity(first, second, dim=1).abs() - margin), weight)


class RadarWeights(BaseModel):
    """Weights of the terms of :func:`radar_loss`; the defaults are the published ones.

    Attributes:
        main: Weight of the cross-entropy of the fused logit.
        branch: Weight of the mean cross-entropy of the artefact branches.
        orthogonality: Weight of the hinge between the two kinds of evidence.
        supervision: Weight of the cross-entropies after each reasoning iteration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    main: float = Field(1.0, ge=0)
    branch: float = Field(0.3, ge=0)
    orthogonality: float = Field(0.1, ge=0)
    supervision: float = Field(0.05, ge=0)


def radar_loss(
    logit: Tensor,
    branches: Sequence[Tensor],
    evidence: tuple[Tensor, Tensor],
    iterations: Sequence[Tensor] | Tensor,
    fake: Tensor,
    weight: Tensor,
    weights: RadarWeights | None = None,
) -> Tensor:
    """Return the loss of RADAR, a scalar: main term, branches, orthogonality and deep supervision.

    Args:
        logit: Fused logits float32 [N], positive for fake.
        branches: Logits of the artefact branches, each float32 [N].
        evidence: Evidence of the two branches, each float32 [N, D].
        iterations: Logits after each reasoning iteration, each float32 [N].
        fake: Targets float32 [N] in [0, 1].
        weight: Weights of the samples, float32 [N] ≥ 0.
        weights: Weights of the terms; by default the published ones.
    """
    weights = weights or RadarWeights()
    return (
        weights.main * bce(logit, fake, weight)
        + weights.branch * branch_bce(branches, fake, weight)
        + weights.orthogonality * orthogonality(*evidence, weight)
        + weights.supervision * deep_supervision(iterations, fake, weight)
    )

"""Terms that detectors compose their loss from.

Targets come smoothed (the loop's ``label_smoothing``) and outputs in float32. Every term is a mean over the samples
by ``weight``, so that one of weight 0, such as a picture that could not be read, counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from deepfake_registry.manifest import Frozen


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``values`` float32 [N] by ``weight`` float32 [N] ≥ 0, a scalar; 0 where all weights are."""
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)


def bce(logit: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy of logits, in nats.

    Args:
        logit: float32 [N], positive = fake.
        fake: Targets float32 [N] in [0, 1].
        weight: float32 [N] ≥ 0.

    Returns:
        A scalar.
    """
    return weighted_mean(F.binary_cross_entropy_with_logits(logit, fake, reduction="none"), weight)


def evidence_bce(evidence: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of an evidence map against the mask that a fake was blended with, over the cells that are known.

    Args:
        evidence: Logits float32 [N, h, w], positive = manipulated.
        mask: Targets float32 [N, h, w] in [0, 1]; NaN where unknown, which counts nowhere.
        weight: float32 [N] ≥ 0.

    Returns:
        A scalar.
    """
    known = ~torch.isnan(mask)
    target = torch.where(known, mask, torch.zeros_like(mask))
    cells = F.binary_cross_entropy_with_logits(evidence, target, reduction="none")
    weights = known * weight[:, None, None]
    return (cells * weights).sum() / weights.sum().clamp_min(1.0)


def branch_bce(logits: Sequence[Tensor], fake: Tensor, weight: Tensor) -> Tensor:
    """Mean of the cross-entropies of several branches that each judge by themselves (004-5).

    Args:
        logits: One float32 [N] per branch.
        fake: Targets float32 [N] in [0, 1].
        weight: float32 [N] ≥ 0.

    Returns:
        A scalar.

    Raises:
        ValueError: There is no branch.
    """
    if not logits:
        raise ValueError("needs the logits of at least one branch")
    return torch.stack([bce(logit, fake, weight) for logit in logits]).mean()


def deep_supervision(logits: Sequence[Tensor] | Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of the answer after each of R reasoning iterations, the later ones weighing more (004-5).

    The weights are ``linspace(1/3, 1, R)`` over their sum: 1/6, 1/3 and 1/2 for the three iterations of RADAR.

    Args:
        logits: One float32 [N] per iteration in their order; or all as [R, N].
        fake: Targets float32 [N] in [0, 1].
        weight: float32 [N] ≥ 0.

    Returns:
        A scalar.

    Raises:
        ValueError: There is no iteration.
    """
    if not len(logits):
        raise ValueError("needs the logits of at least one iteration")
    terms = torch.stack([bce(logit, fake, weight) for logit in logits])
    shares = torch.linspace(1 / 3, 1, len(logits), device=terms.device, dtype=terms.dtype)
    return (terms * shares).sum() / shares.sum()


def orthogonality(first: Tensor, second: Tensor, weight: Tensor, margin: float = 0.1) -> Tensor:
    """Hinge that keeps two kinds of evidence about a sample from saying the same: ReLU(|cos| - margin) (004-5).

    Args:
        first: Evidence float32 [N, D].
        second: Evidence float32 [N, D].
        weight: float32 [N] ≥ 0.
        margin: Cosine, up to which likeness costs nothing.

    Returns:
        A scalar in [0, 1 - margin].
    """
    return weighted_mean(F.relu(F.cosine_similarity(first, second, dim=1).abs() - margin), weight)


class RadarWeights(Frozen):
    """Weights of the terms of :func:`radar_loss`; the defaults are those of 004-5.

    Attributes:
        main: Of the fused answer's cross-entropy.
        branch: Of the artefact branches'.
        orthogonality: Of the hinge between the two kinds of evidence.
        supervision: Of the answers after each reasoning iteration.
    """

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
    """The loss of RADAR (004-5): main + branches + orthogonality + deep supervision.

    Args:
        logit: Fused answer float32 [N].
        branches: Answers of the artefact branches, each float32 [N].
        evidence: Of the two branches, each float32 [N, D].
        iterations: Answers after each reasoning iteration, each float32 [N].
        fake: Targets float32 [N] in [0, 1].
        weight: float32 [N] ≥ 0.
        weights: Of the terms.

    Returns:
        A scalar.
    """
    weights = weights or RadarWeights()
    return (
        weights.main * bce(logit, fake, weight)
        + weights.branch * branch_bce(branches, fake, weight)
        + weights.orthogonality * orthogonality(*evidence, weight)
        + weights.supervision * deep_supervision(iterations, fake, weight)
    )

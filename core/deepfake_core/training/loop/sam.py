"""Sharpness-aware minimisation (SAM; Foret et al. 2021, arXiv 2010.01412)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def ascend(parameters: Sequence[nn.Parameter], radius: float) -> list[Tensor]:
    """Move the weights along their gradients by a distance of ``radius`` over all parameters.

    Returns:
        The change of each parameter that has a gradient; :func:`restore` subtracts it again.
    """
    moved = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in moved if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    changes = [gradient * (radius / (norm + 1e-12)) for gradient in gradients]
    torch._foreach_add_(list[Tensor](moved), changes)
    return changes


@torch.no_grad()
def restore(parameters: Sequence[nn.Parameter], changes: Sequence[Tensor]) -> None:
    """Subtract what :func:`ascend` added; the same parameters must have gradients as then."""
    torch._foreach_sub_([parameter for parameter in parameters if parameter.grad is not None], list(changes))

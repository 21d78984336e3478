"""Masks of blends on a device: convex hulls as half-planes, deformed, and softened at their edges."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_core.training.pairs.device.parcel import Parcel
from deepfake_core.training.pairs.device.resample import blur, gaussians
from deepfake_core.training.pairs.draws import ABSENT, MASK_SIDE, NORMALS, Mask


def masks(draws: Mask, parcel: Parcel) -> Callable[[], Tensor]:
    """Return the function that makes the masks of n blends before their strength, ``float32 [n, 1, M, M]``.

    M is :data:`~deepfake_core.training.pairs.draws.MASK_SIDE`.
    """
    hulls = [hull for hull in range(draws.support.shape[1]) if (draws.support[:, hull] > ABSENT).any()]
    support, elastic = parcel.add(draws.support), parcel.add(draws.elastic)
    first, second = (parcel.add(gaussians(sigma)) for sigma in (draws.first, draws.second))
    threshold = parcel.add(draws.threshold) if draws.threshold.any() else None

    def make() -> Tensor:
        normals, centres = _grid(elastic().device)
        flow = F.interpolate(elastic(), size=(MASK_SIDE, MASK_SIDE), mode="bicubic")
        points = flow.flatten(2) + centres
        inside = [
            torch.baddbmm(support()[:, hull, :, None], normals.expand(len(points), -1, -1), points, alpha=-1).amin(1)
            for hull in hulls
        ]
        depth = inside[0] if len(inside) == 1 else torch.maximum(*inside)
        mask = depth.mul_(MASK_SIDE / 2).add_(0.5).clamp_(0, 1).view(-1, 1, MASK_SIDE, MASK_SIDE)
        mask = blur(mask, first(), outside="constant")
        if threshold is not None:
            level = threshold()[:, None, None, None]
            mask = torch.where(level > 0, (mask >= level).float(), mask)
        mask = blur(mask, second(), outside="constant")
        return mask / mask.amax((2, 3), keepdim=True).clamp_min_(1e-3)

    return make


@cache
def _grid(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the normals ``float32 [DIRECTIONS, 2]`` and the centres of the cells ``float32 [2, M·M]``: x and y."""
    line = (torch.arange(MASK_SIDE, device=device) + 0.5) * (2 / MASK_SIDE) - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.from_numpy(NORMALS).to(device), torch.stack([x.flatten(), y.flatten()])

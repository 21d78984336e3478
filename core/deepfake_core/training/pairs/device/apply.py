"""Pairs of a real face and a fake on a device: all pictures of a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.training.pairs.autoencoder import restore
from deepfake_core.training.pairs.device.crops import Crops
from deepfake_core.training.pairs.device.degrade import (
    Operation,
    blurred,
    chain,
    coloured,
    in_turn,
    resampled,
    sharpened,
)
from deepfake_core.training.pairs.device.jpeg import levels
from deepfake_core.training.pairs.device.masks import masks
from deepfake_core.training.pairs.device.parcel import Parcel
from deepfake_core.training.pairs.device.precision import full_precision
from deepfake_core.training.pairs.device.resample import warp
from deepfake_core.training.pairs.draws import MASK_SIDE, Blend, Chunk, Mismatch, Swapper


def device_pairs(chunk: Chunk, crops: Crops, autoencoders: Sequence[nn.Module] = ()) -> tuple[Tensor, Tensor]:
    """Make the pairs of a chunk on the device of the crops; the host waits for nothing.

    Args:
        chunk: Draws of n pairs.
        crops: Stored crops of the faces.
        autoencoders: Trained autoencoders on the device, of which the chunk names one.

    Returns:
        Images ``uint8 [2n, size, size, 3]`` RGB, the n real ones first, and the masks of the fakes
        ``float32 [n, cells, cells]`` in [0, 1], NaN where they are unknown.
    """
    device, n = crops.device, len(chunk)
    parcel = Parcel()
    fake = _fakes(chunk, crops.side, parcel)
    degrade = chain(chunk.degradation, crops.side, chunk.size, parcel)
    move = None if chunk.degradation.crop is None else parcel.add(chunk.degradation.crop.move)
    parcel.send(device)
    with full_precision(device):
        real, *more = (crops.fetch(rows) for rows in rows_of(chunk))
        other = more[0] if more else real
        if chunk.autoencoder is not None:
            other = restore(autoencoders[chunk.autoencoder], other)
        target, made, mask = fake(real, other)
        images = levels(degrade(torch.cat([target, made]))).to(torch.uint8)
        if mask is None:
            value = float("nan") if chunk.family == "labelled" else 1.0
            cells = torch.full((n, chunk.cells, chunk.cells), value, device=device)
        else:
            side = chunk.cells * -(-MASK_SIDE // chunk.cells)
            if move is not None:
                mask = warp(mask, move(), side, outside="zeros")
            cells = F.adaptive_avg_pool2d(mask, chunk.cells)[:, 0]
            if chunk.family == "labelled":
                cells = torch.where(cells > 0.5, 0.0, torch.nan)
        return images.permute(0, 2, 3, 1).contiguous(), cells


def rows_of(chunk: Chunk) -> list[NDArray[np.intp]]:
    """Return the rows that making a chunk fetches, by call: those of the real faces, and the others if they differ."""
    return [chunk.rows] if np.array_equal(chunk.rows, chunk.others) else [chunk.rows, chunk.others]


_Fakes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor | None]]


def _fakes(chunk: Chunk, side: int, parcel: Parcel) -> _Fakes:
    """Return the function of real and other pictures ``[n, 3, side, side]`` that gives targets, fakes and masks."""
    if chunk.blend is None:
        return lambda real, other: (real, other, None)
    blend = _blended(chunk.blend, side, parcel)
    if chunk.family == "labelled":
        return lambda real, other: (real, *blend(other, real)[1:])
    return blend


def _blended(draws: Blend, side: int, parcel: Parcel) -> _Fakes:
    move, strength = parcel.add(draws.move), parcel.add(draws.mask.strength)
    make_masks = masks(draws.mask, parcel)
    matched = parcel.add(draws.matched) if draws.matched.any() else None
    of = draws.mismatch.of if draws.mismatch is not None else None
    change = _changed(draws.mismatch, side, parcel) if draws.mismatch is not None else None
    swapped = _swapped(draws.swapper, side, parcel) if draws.swapper is not None else None
    hardness = parcel.add(draws.mask.hardness) if (draws.mask.hardness != 1).any() else None

    def blend(real: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        source, target = warp(other, move(), side), real
        small = make_masks()
        mask = F.interpolate(small, size=(side, side), mode="bilinear")
        if matched is not None:
            source = torch.where(matched()[:, None, None, None] > 0, _matched(source, target, mask), source)
        if change is not None and of == "source":
            source = change(source)
        elif change is not None:
            target = change(target).round_()
        if swapped is not None:
            source = swapped(source)
        if hardness is not None:
            mask = (mask - 0.5).mul_(hardness()[:, None, None, None]).add_(0.5).clamp_(0, 1)
        by = strength()[:, None, None, None]
        return target, torch.lerp(target, source, mask * by).round_(), small * by

    return blend


def _changed(draws: Mismatch, side: int, parcel: Parcel) -> Operation:
    steps = [coloured(draws.colour, parcel)]
    if draws.resample is not None:
        steps += resampled(draws.resample, side, parcel)
    if draws.sharpening is not None:
        steps.append(sharpened(draws.sharpening, parcel))
    if draws.blur is not None:
        steps.append(blurred(draws.blur, parcel))
    return in_turn(steps)


def _swapped(draws: Swapper, side: int, parcel: Parcel) -> Operation:
    steps = resampled(draws.resample, side, parcel) if draws.resample is not None else []
    if draws.sharpening is not None:
        steps.append(sharpened(draws.sharpening, parcel))
    return in_turn(steps)


def _matched(source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Give the source the target's mean and spread of each channel under the mask (Reinhard et al. 2001)."""
    inside = (mask > 0.5).float().flatten(2)
    count = inside.sum(2, keepdim=True).clamp_min_(1)
    means, spreads = [], []
    for picture in (source, target):
        pixels = picture.flatten(2)
        mean = torch.matmul(pixels, inside.mT) / count
        square = torch.matmul(torch.square(pixels - mean), inside.mT) / count
        means.append(mean[..., None])
        spreads.append(square.sqrt_()[..., None])
    factor = (spreads[1] / spreads[0].clamp_min_(1e-3)).clamp_(0.6, 1.6)
    return torch.addcmul(means[1], source - means[0], factor).clamp_(0, 255)

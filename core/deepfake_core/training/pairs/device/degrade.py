"""The chain of :mod:`~deepfake_core.training.data.degrade` on a device, one kernel of each operation for a whole chunk.

A picture is ``float32 [n, 3, H, W]`` RGB from 0 to 255. An operation is put together from its draws by a function
that adds their arrays to a :class:`~deepfake_core.training.pairs.device.parcel.Parcel`; what it returns runs once the
parcel was sent, within :func:`~deepfake_core.training.pairs.device.precision.full_precision`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_core.training.data.colour import GREY
from deepfake_core.training.data.degrade import (
    DETAIL,
    DETAIL_FACTORS,
    DETAIL_FLOOR,
    Blur,
    Colour,
    Crop,
    Degradation,
    Detail,
    Jpeg,
    Kernel,
    Noise,
    Resample,
    Sharpening,
    detail_window,
    noise_field,
)
from deepfake_core.training.pairs.device import resample as kernels
from deepfake_core.training.pairs.device.jpeg import jpeg, tables
from deepfake_core.training.pairs.device.parcel import Parcel

Operation = Callable[[Tensor], Tensor]


def chain(draws: Degradation, side: int, size: int, parcel: Parcel) -> Operation:
    """Return the degradation of n pairs: of pictures ``[2n, 3, side, side]``, the n real ones first.

    The result is ``[2n, 3, size, size]``.
    """
    steps: list[Operation] = []
    if draws.detail is not None:
        steps.append(detailed(draws.detail, parcel))
    if draws.colour is not None:
        steps.append(coloured(draws.colour, parcel, pictures=2))
    if draws.size is not None:
        steps.append(resized(draws.size.side, draws.size.kernel(side)))
        side = draws.size.side
    if draws.first is not None:
        steps.append(coded(draws.first, parcel, pictures=2))
    if draws.resample is not None:
        steps += resampled(draws.resample, side, parcel, between=draws.between, pictures=2)
    if draws.sharpening is not None:
        steps.append(sharpened(draws.sharpening, parcel, pictures=2))
    whole: Kernel = "area" if size < side else "bilinear"
    steps.append(resized(size, whole) if draws.crop is None else cut(draws.crop, size, parcel))
    if draws.blur is not None:
        steps.append(blurred(draws.blur, parcel, pictures=2))
    if draws.noise is not None:
        steps.append(noisy(draws.noise, size, parcel))
    if draws.last is not None:
        steps.append(coded(draws.last, parcel, pictures=2))
    return in_turn(steps)


def in_turn(steps: Sequence[Operation]) -> Operation:
    """Return the operation that does all steps, one after another."""

    def run(images: Tensor) -> Tensor:
        for step in steps:
            images = step(images)
        return images

    return run


def detailed(of: Detail, parcel: Parcel) -> Operation:
    """Return the change that gives one picture of each pair the amount of detail of the other."""
    steps = np.sqrt(np.diff(np.square(DETAIL), prepend=0)).astype(np.float32)
    weights = [parcel.add(kernels.gaussians(steps[place : place + 1])) for place in range(len(DETAIL))]

    def run(images: Tensor) -> Tensor:
        real, fake = images.chunk(2)
        changed, like = (real, fake) if of == "real" else (fake, real)
        luma = (torch.cat([changed, like]) * _grey(images.device)[:, None, None]).sum(1, keepdim=True)
        change, window = torch.zeros_like(luma[: len(changed)]), _window(luma.shape[-1], images.device)
        for weight in weights:
            soft = kernels.blur(luma, weight().expand(len(luma), -1))
            band = luma - soft
            spread, wanted = (band.square() * window).sum((2, 3), keepdim=True).sqrt_().add_(DETAIL_FLOOR).chunk(2)
            change.addcmul_((wanted / spread).clamp_(*DETAIL_FACTORS).sub_(1), band[: len(change)])
            luma = soft
        changed = (changed + change).clamp_(0, 255)
        return torch.cat([changed, fake] if of == "real" else [real, changed])

    return run


def coloured(draws: Colour, parcel: Parcel, *, pictures: int = 1) -> Operation:
    """Return a change of colour and light of n pictures, or of the 2n ``pictures`` of n pairs."""
    matrix, offset = (parcel.add(np.tile(part, (pictures, 1, 1))) for part in (draws.matrix, draws.offset[..., None]))
    mean = parcel.add(draws.mean)
    some = np.flatnonzero(np.tile(draws.gamma != 1, pictures))
    curved, gamma = parcel.add(some), parcel.add(np.tile(draws.gamma, pictures)[some])

    def run(images: Tensor) -> Tensor:
        grey = images.mean((2, 3)).view(pictures, -1, 3).mean(0) @ _grey(images.device)
        bias = offset() + (grey * mean()).repeat(pictures)[:, None, None]
        changed = torch.baddbmm(bias, matrix(), images.flatten(2)).view_as(images).clamp_(0, 255)
        if len(some):
            places = curved().long()
            part = changed.index_select(0, places).div_(255).pow_(gamma()[:, None, None, None]).mul_(255)
            changed.index_copy_(0, places, part)
        return changed

    return run


def coded(draws: Jpeg, parcel: Parcel, *, pictures: int = 1) -> Operation:
    """Return the coding as JPEG, which changes those pictures in place that are coded."""
    quality = np.tile(draws.quality, pictures)
    some = np.flatnonzero(quality)
    if not len(some):
        return lambda images: images
    table = parcel.add(tables(quality[some]))
    places = parcel.add(some) if len(some) < len(quality) else None

    def run(images: Tensor) -> Tensor:
        if places is None:
            return jpeg(images, table(), halved=draws.subsampled)
        chosen = places().long()
        return images.index_copy_(0, chosen, jpeg(images.index_select(0, chosen), table(), halved=draws.subsampled))

    return run


def resized(side: int, kernel: Kernel) -> Operation:
    """Return the resizing of square pictures to ``side`` pixels."""

    def run(images: Tensor) -> Tensor:
        result = kernels.resize(images, side, kernel)
        return result.clamp_(0, 255) if kernel == "bicubic" and result is not images else result

    return run


def resampled(
    draws: Resample, side: int, parcel: Parcel, *, between: Jpeg | None = None, pictures: int = 1
) -> list[Operation]:
    """Return the resizing of pictures of ``side`` pixels to a smaller side and back, with JPEG between the two."""
    down, up = resized(draws.side(side), draws.down), resized(side, draws.up)
    return [down, up] if between is None else [down, coded(between, parcel, pictures=pictures), up]


def blurred(draws: Blur, parcel: Parcel, *, pictures: int = 1) -> Operation:
    """Return the blur of each picture."""
    weights = parcel.add(np.tile(kernels.gaussians(draws.sigma), (pictures, 1)))
    return lambda images: kernels.blur(images, weights())


def sharpened(draws: Sharpening, parcel: Parcel, *, pictures: int = 1) -> Operation:
    """Return the sharpening of each picture."""
    soft = blurred(draws.blur, parcel, pictures=pictures)
    factor = parcel.add(np.tile(1 + draws.amount, pictures)[:, None, None, None])
    return lambda images: torch.lerp(soft(images), images, factor()).clamp_(0, 255)


def noisy(draws: Noise, size: int, parcel: Parcel) -> Operation:
    """Return the addition of noise to the 2n pictures of n pairs, the same to both of a pair."""
    sigma, corner = parcel.add(draws.sigma), parcel.add(draws.corner)

    def run(images: Tensor) -> Tensor:
        field = _field(size, images.device)
        line = torch.arange(size, device=images.device)
        rows, columns = (corner().long()[:, axis, None] + line for axis in (0, 1))
        noise = field[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1) * sigma()[:, None, None, None]
        both = images.view(2, len(rows), *images.shape[1:]) + noise
        return both.clamp_(0, 255).view_as(images)

    return run


def cut(draws: Crop, size: int, parcel: Parcel) -> Operation:
    """Return the cut of the network's input out of the 2n pictures of n pairs."""
    move, times = parcel.add(np.tile(draws.move, (2, 1, 1))), draws.oversampling

    def run(images: Tensor) -> Tensor:
        taken = kernels.warp(images, move(), size * times)
        return taken if times == 1 else F.avg_pool2d(taken, times)

    return run


@cache
def _grey(device: torch.device) -> Tensor:
    return torch.tensor(GREY, dtype=torch.float32, device=device)


@cache
def _window(side: int, device: torch.device) -> Tensor:
    return torch.from_numpy(detail_window(side)).to(device)


@cache
def _field(size: int, device: torch.device) -> Tensor:
    """Return the field of noise on a device, ``float32 [3, F, F]``."""
    return torch.from_numpy(noise_field(size)).permute(2, 0, 1).contiguous().to(device)

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
    DETAIL_FACTORS,
    Blur,
    Colour,
    Crop,
    Degradation,
    Jpeg,
    Kernel,
    Noise,
    OfPair,
    Resample,
    Sharpening,
    detail_of,
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
        steps.append(detailed(draws.detail, side))
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


def detailed(of: OfPair, side: int) -> Operation:
    """Return the change that gives one picture of each pair the amount of detail of the other."""
    how = detail_of(side)
    least, most = np.log(DETAIL_FACTORS).tolist()

    def run(images: Tensor) -> Tensor:
        real, fake = images.chunk(2)
        changed, like = (real, fake) if of == "real" else (fake, real)
        window, octaves, shares = _detail(side, images.device)
        luma = (torch.cat([changed, like]) * _grey(images.device)[:, None, None]).sum(1)
        seen = torch.fft.rfft2((luma - luma.mean((1, 2), keepdim=True)) * window)
        before, wanted = ((seen.real**2 + seen.imag**2).flatten(1) @ octaves).add_(how.floor).chunk(2)
        factors = (wanted / before).log_().div_(2).clamp_(least, most)
        spectrum = torch.fft.rfft2(luma[: len(changed)])
        change = torch.fft.irfft2(spectrum * torch.expm1(factors @ shares).view_as(spectrum.real), s=(side, side))
        changed = (changed + change[:, None]).clamp_(0, 255)
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
def _detail(side: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    how = detail_of(side)
    window, octaves, shares = (torch.from_numpy(part).to(device) for part in (how.window, how.octaves, how.shares))
    return window, octaves, shares.mT.contiguous()


@cache
def _field(size: int, device: torch.device) -> Tensor:
    """Return the field of noise on a device, ``float32 [3, F, F]``."""
    return torch.from_numpy(noise_field(size)).permute(2, 0, 1).contiguous().to(device)

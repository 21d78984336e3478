"""Degradation of images on the host, by OpenCV: an image is rounded to ``uint8`` after each operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.training.data.colour import GREY
from deepfake_core.training.data.degrade.detail import DETAIL_FACTORS, detail_of
from deepfake_core.training.data.degrade.draws import (
    Blur,
    Colour,
    Degradation,
    Floats,
    Image,
    Jpeg,
    Kernel,
    Resample,
    Sharpening,
    draw_degradation,
    draw_size,
    noise_field,
)

KERNELS: dict[Kernel, int] = {
    "nearest": cv2.INTER_NEAREST,
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
}
"""Kernels of resizing, as ``cv2.resize`` has them: ``area`` for smaller results only, and none with a low-pass."""

SIDES = (0.4, 1.5)
"""Smallest and largest side to which :func:`degrade` brings an image before all else, in sides of the result."""

_INVERSE = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_NO_CHANGE = 1e-6


def degrade(image: Image, rng: np.random.Generator, size: int) -> Image:
    """Degrade one image by a chain that is drawn; the result is ``uint8 [size, size, 3]`` RGB.

    Images reach a detector after an unknown number of uploads. Real and fake images go through the same chain, so that
    neither the resolution nor the codec tells the classes apart.

    Args:
        image: Image ``uint8 [H, W, 3]`` RGB. One much larger than the result is reduced first, because nothing of the
            chain would be seen after the reduction.
        rng: Generator that decides the chain.
        size: Side of the result in pixels.
    """
    if max(image.shape[:2]) > (largest := round(SIDES[1] * size)):
        image = resized(image, largest, "area")
    common = draw_size(rng, (SIDES[0] * size, SIDES[1] * size))
    return degraded([image], draw_degradation(rng, 1, size, common=common), size)[0]


def degraded(images: Sequence[Image], chain: Degradation, size: int, place: int = 0) -> list[Image]:
    """Degrade images by the same one of n chains.

    Args:
        images: Images ``uint8 [S, S, 3]`` RGB, such as the real one and the fake of a pair.
        chain: The chains.
        size: Side of the results in pixels.
        place: Number of the chain, from 0 to n-1.

    Returns:
        Images ``uint8 [size, size, 3]`` RGB.
    """
    results = list(images)
    if chain.detail is not None:
        changed = ("real", "fake").index(chain.detail)
        results[changed] = detailed(results[changed], results[1 - changed])
    if chain.colour is not None:
        results = recoloured(results, chain.colour, place)
    for number, image in enumerate(results):
        if chain.size is not None:
            image = resized(image, chain.size.side, chain.size.kernel(image.shape[0]))
        image = coded(image, chain.first, place)
        image = resampled(image, chain.resample, lambda small: coded(small, chain.between, place))
        image = sharpened(image, chain.sharpening, place)
        if chain.crop is not None:
            finer = chain.crop.oversampling
            image = resized(warped(image, chain.crop.move[place], size * finer), size, "area")
        else:
            image = resized(image, size, "area" if size < image.shape[0] else "bilinear")
        image = blurred(image, chain.blur, place)
        if chain.noise is not None:
            y, x = chain.noise.corner[place].tolist()
            noise = noise_field(size)[y : y + size, x : x + size] * chain.noise.sigma[place]
            image = cv2.add(image, noise, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
        results[number] = coded(image, chain.last, place)
    return results


def detailed(image: Image, like: Image) -> Image:
    """Give an image the amount of detail of another one of the same size (:class:`Degradation`)."""
    side = image.shape[0]
    how = detail_of(side)
    lumas = np.stack([cv2.transform(picture.astype(np.float32), GREY[None]) for picture in (image, like)])
    seen = np.fft.rfft2((lumas - lumas.mean((1, 2), keepdims=True)) * how.window)
    energy = (seen.real**2 + seen.imag**2).reshape(2, -1) @ how.octaves + how.floor
    factors = np.clip(np.log(energy[1] / energy[0]) / 2, *np.log(DETAIL_FACTORS, dtype=np.float32))
    spectrum = np.fft.rfft2(lumas[0])
    change = np.fft.irfft2(spectrum * np.expm1(how.shares @ factors).reshape(spectrum.shape), (side, side))
    return cv2.add(image, cv2.merge([change.astype(np.float32)] * 3), dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def recoloured(images: Sequence[Image], colour: Colour, place: int) -> list[Image]:
    """Change the colours of images ``uint8 [H, W, 3]`` RGB of the same size, all by the same one of n changes."""
    weight, gamma = float(colour.mean[place]), float(colour.gamma[place])
    mean = weight * float(np.mean([cv2.mean(image)[:3] for image in images], axis=0) @ GREY) if weight else 0.0
    matrix = np.column_stack([colour.matrix[place], colour.offset[place] + mean])
    if np.abs(matrix - np.eye(3, 4)).max() > _NO_CHANGE:
        images = [cv2.transform(image, matrix).astype(np.uint8, copy=False) for image in images]
    if gamma != 1:
        table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
        images = [cv2.LUT(image, table).astype(np.uint8, copy=False) for image in images]
    return list(images)


def resized(image: Image, side: int, kernel: Kernel) -> Image:
    """Resize an image to ``uint8 [side, side, 3]``."""
    if image.shape[:2] == (side, side):
        return image
    return cv2.resize(image, (side, side), interpolation=KERNELS[kernel]).astype(np.uint8, copy=False)


def resampled(image: Image, resample: Resample | None, between: Callable[[Image], Image] | None = None) -> Image:
    """Resize an image to a smaller side and back; ``between`` changes the smaller image."""
    if resample is None:
        return image
    full = image.shape[0]
    small = resized(image, resample.side(full), resample.down)
    return resized(small if between is None else between(small), full, resample.up)


def blurred(image: Image, blur: Blur | None, place: int) -> Image:
    """Blur an image by the sigma of a place."""
    if blur is None:
        return image
    side = 2 * blur.radius + 1
    return cv2.GaussianBlur(image, (side, side), float(blur.sigma[place])).astype(np.uint8, copy=False)


def sharpened(image: Image, sharpening: Sharpening | None, place: int) -> Image:
    """Sharpen an image by the amount of a place."""
    if sharpening is None:
        return image
    amount = float(sharpening.amount[place])
    soft = blurred(image, sharpening.blur, place)
    return cv2.addWeighted(image, 1 + amount, soft, -amount, 0).astype(np.uint8, copy=False)


def coded(image: Image, jpeg: Jpeg | None, place: int) -> Image:
    """Encode an image as JPEG by the quality of a place, and decode it."""
    if jpeg is None or not (quality := int(jpeg.quality[place])):
        return image
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if jpeg.subsampled else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    return recode(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])


def recode(image: Image, extension: str, options: list[int]) -> Image:
    """Encode an image ``uint8 [H, W, 3]`` RGB and decode it again.

    Args:
        image: The image.
        extension: File suffix of the codec, such as ``".jpg"``.
        options: Parameters for ``cv2.imencode``.
    """
    _, data = cv2.imencode(extension, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def warped(image: NDArray[Any], move: Floats, side: int, border: int = cv2.BORDER_REFLECT) -> NDArray[Any]:
    """Take ``[side, side, …]`` from a square image by an affine map ``float32 [2, 3]``, bilinearly."""
    full = image.shape[0]
    # From the coordinates of pixels, whose centres are at whole numbers, to [-1, 1], and back.
    inner = move[:, :2] * (full / side)
    shift = (full * (move[:, 2] + 1) - 1) / 2 + inner @ np.full(2, (1 - side) / 2)
    return cv2.warpAffine(image, np.column_stack([inner, shift]), (side, side), flags=_INVERSE, borderMode=border)

"""Degradation of images as uploads degrade them: colour, resizing, blur, noise and JPEG.

What is random is drawn first, for n images at once (:func:`draw_degradation`), and then applied: by :func:`degraded` on
the host and by :mod:`~deepfake_core.training.pairs.device` for whole batches on a device. In a chain, every choice of a
kernel holds for all n images, and every number that can differ does.

Affine maps are ``float32 [n, 2, 3]`` from coordinates of the result to those of the input. In both, an image spans
[-1, 1], from the left edge of its first pixel to the right edge of its last one. On the host, an image is rounded to
``uint8`` after each operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.training.data.colour import GREY, saturated

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Kernel = Literal["nearest", "area", "bilinear", "bicubic"]

KERNELS: dict[Kernel, int] = {
    "nearest": cv2.INTER_NEAREST,
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
}
"""Kernels of resizing, as ``cv2.resize`` has them: ``area`` for smaller results only, and none with a low-pass."""

LARGEST = 1.5
"""Largest side of an image that :func:`degrade` takes as it is, in sides of the result."""

_INVERSE = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_NO_CHANGE = 1e-6


@dataclass(frozen=True)
class Colour:
    """Changes of colour and light: ``y = 255·clip((matrix·x + offset + mean·grey) / 255)^gamma`` for a pixel x.

    ``grey`` is the mean over the image of its grey (:data:`~deepfake_core.training.data.colour.GREY`); over both images
    where the same change is made to a pair.

    Attributes:
        matrix: ``float32 [n, 3, 3]``.
        offset: ``float32 [n, 3]`` in grey levels.
        mean: Weight of the mean grey, ``float32 [n]``.
        gamma: Exponents ``float32 [n]``; 1 leaves an image as it is.
    """

    matrix: Floats
    offset: Floats
    mean: Floats
    gamma: Floats


@dataclass(frozen=True)
class Resample:
    """Resizing to a smaller side and back.

    Attributes:
        scale: Smaller side divided by the side of the image.
        down: Kernel of the first resizing.
        up: Kernel of the second resizing.
    """

    scale: float
    down: Kernel
    up: Kernel

    def side(self, full: int) -> int:
        """Return the smaller side in pixels of an image whose side has ``full`` pixels."""
        return max(2, round(full * self.scale))


@dataclass(frozen=True)
class Blur:
    """Gaussian blur; edges are reflected without the pixel at the edge (``cv2.BORDER_REFLECT_101``).

    Attributes:
        sigma: ``float32 [n]`` in pixels.
    """

    sigma: Floats

    @property
    def radius(self) -> int:
        """Radius of the kernel in pixels, the same for all n images."""
        return int(np.ceil(3 * self.sigma.max()))


@dataclass(frozen=True)
class Noise:
    """Additive noise: a window of a fixed field of normal numbers (:func:`noise_field`), times its sigma.

    Attributes:
        sigma: ``float32 [n]`` in grey levels.
        corner: First row and first column of each window in the field, ``int32 [n, 2]``.
    """

    sigma: Floats
    corner: NDArray[np.int32]


@dataclass(frozen=True)
class Jpeg:
    """Encoding as JPEG and decoding.

    Attributes:
        quality: Quality of libjpeg, ``int32 [n]``; 0 leaves an image as it is.
        subsampled: Whether the colours have half the resolution (4:2:0 instead of 4:4:4).
    """

    quality: NDArray[np.int32]
    subsampled: bool


@dataclass(frozen=True)
class Crop:
    """The cut of the network's input out of a stored crop: margin, shift, rotation and flip, bilinear.

    Beyond its edges, an image is reflected with the pixel at the edge (``cv2.BORDER_REFLECT``).

    Attributes:
        move: Affine maps ``float32 [n, 2, 3]`` from the result to the stored crop.
        oversampling: Number of samples along each axis whose mean is one pixel of the result.
    """

    move: Floats
    oversampling: int


@dataclass(frozen=True)
class Degradation:
    """One chain for each of n images, in the order of the attributes; ``None`` leaves out an operation.

    Attributes:
        colour: Change of colour and light.
        first: JPEG at the size of the input.
        resample: Resizing to a smaller side and back.
        between: JPEG at the smaller side of ``resample``.
        crop: Cut of the network's input; ``None`` resizes the whole image instead.
        blur: Blur at the size of the result.
        noise: Noise at the size of the result.
        last: JPEG at the size of the result.
    """

    colour: Colour | None
    first: Jpeg | None
    resample: Resample | None
    between: Jpeg | None
    crop: Crop | None
    blur: Blur | None
    noise: Noise | None
    last: Jpeg | None


def uniform(rng: np.random.Generator, low: float, high: float, n: int) -> Floats:
    """Draw ``float32 [n]`` evenly from [low, high)."""
    return np.float32(low) + np.float32(high - low) * rng.random(n, np.float32)


def affine(scale: Floats, angle: Floats, shift: Floats) -> Floats:
    """Return maps ``float32 [n, 2, 3]`` that scale ``[n]``, turn by an angle in rad ``[n]`` and shift ``[n, 2]``."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.stack([np.stack([cos, -sin, shift[:, 0]], 1), np.stack([sin, cos, shift[:, 1]], 1)], 1).astype(np.float32)


def draw_colour(rng: np.random.Generator, n: int, *, strong: bool) -> Colour:
    """Draw changes of colour: shift, light, contrast, saturation and hue; strong ones with gamma and grey images.

    Args:
        rng: Generator that decides them.
        n: Number of images.
        strong: Whether light and contrast change by up to 30 % instead of 10 %.
    """
    span = 0.3 if strong else 0.1
    # Share of the images that change and the largest change: three shifts, light, contrast, saturation, hue, gamma.
    shares = np.array([0.3, 0.3, 0.3, 0.35, 0.35, 0.3, 0.25, 0.15 * strong])
    most = np.array([20, 20, 20, span, span, 0.35, 0.18 if strong else 0.12, 0.35])
    chance, value = rng.random((2, n, len(most)))
    chance[:, 1:3] = chance[:, :1]  # the three shifts come together
    *_, light, contrast, saturation, hue, gamma = changes = np.where(chance < shares, (2 * value - 1) * most, 0).T
    # Light is a factor: a summand would leave nothing of a dark picture.
    light, contrast = 1 + light, 1 + contrast
    matrix = saturated(1 + saturation, hue) * (light * contrast)[:, None, None]
    grey = rng.random(n) < 0.06 * strong
    if grey.any():
        matrix[grey] = (GREY @ matrix[grey])[:, None]
    offset = (matrix @ changes[:3].T[..., None])[..., 0]
    parts = (matrix, offset, light * (1 - contrast), np.exp(gamma))
    return Colour(*(part.astype(np.float32) for part in parts))


def draw_jpeg(rng: np.random.Generator, n: int, p: float, lowest: int) -> Jpeg:
    """Draw a quality from ``lowest`` to 100 for a share p of n images; 4:2:0 for 70 % of the draws."""
    quality = np.where(rng.random(n) < p, rng.integers(lowest, 101, n), 0)
    return Jpeg(quality.astype(np.int32), bool(rng.random() < 0.7))


def draw_crop(rng: np.random.Generator, n: int, share: float, *, oversampling: int) -> Crop:
    """Draw cuts of the network's input.

    Args:
        rng: Generator that decides them.
        n: Number of images.
        share: Side of the detector's crop divided by that of the stored crop; the drawn sides are 0.85 to 1.2 times
            that, and not more than the stored crop.
        oversampling: As :class:`Crop` has it.
    """
    scale = np.minimum(share * uniform(rng, 0.85, 1.2, n), 1).astype(np.float32)
    room = (1 - scale)[:, None]
    shift = np.clip(rng.uniform(-0.09, 0.09, (n, 2)), -room, room)
    angle = np.where(rng.random(n) < 0.4, rng.uniform(-0.12, 0.12, n), 0.0).astype(np.float32)
    move = affine(scale, angle, shift.astype(np.float32))
    move[:, :, 0] *= np.where(rng.random(n) < 0.5, -1, 1)[:, None]
    return Crop(move, oversampling)


def draw_degradation(
    rng: np.random.Generator, n: int, size: int, *, colour: bool = False, crop: Crop | None = None
) -> Degradation:
    """Draw the chains of n images.

    Args:
        rng: Generator that decides them.
        n: Number of images.
        size: Side of the results in pixels.
        colour: Whether colour and light change, too.
        crop: Cuts of the network's input; ``None`` resizes the whole images.
    """
    changed = draw_colour(rng, n, strong=True) if colour else None
    first = draw_jpeg(rng, n, 0.75, 35) if rng.random() < 0.8 else None
    resample = between = blur = noise = None
    if rng.random() < 0.5:
        resample = Resample(float(rng.uniform(0.3, 0.9)), pick(rng, "area", "bilinear", "bicubic"), pick_up(rng))
        between = draw_jpeg(rng, n, 0.8, 40) if rng.random() < 0.5 else None
    if rng.random() < 0.18:
        blur = Blur(uniform(rng, 0.3, 1.5, n))
    if rng.random() < 0.15:
        corner = rng.integers(0, len(noise_field(size)) - size + 1, (n, 2)).astype(np.int32)
        noise = Noise(uniform(rng, 1, 8, n), corner)
    last = draw_jpeg(rng, n, 0.8, 30) if rng.random() < 0.4 else None
    return Degradation(changed, first, resample, between, crop, blur, noise, last)


def pick(rng: np.random.Generator, *kernels: Kernel) -> Kernel:
    """Draw one of some kernels."""
    return kernels[int(rng.integers(len(kernels)))]


def pick_up(rng: np.random.Generator) -> Kernel:
    """Draw a kernel for resizing to a larger side."""
    return pick(rng, "bilinear", "bicubic")


@cache
def noise_field(size: int) -> Floats:
    """Return the fixed field of normal numbers ``float32 [F, F, 3]`` for images of this side, F ≥ ``size`` + 256."""
    side = 512 * -(-(size + 256) // 512)
    return np.random.default_rng(0).standard_normal((side, side, 3), np.float32)


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
    if max(image.shape[:2]) > (largest := round(LARGEST * size)):
        image = resized(image, largest, "area")
    return degraded([image], draw_degradation(rng, 1, size), size)[0]


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
    if chain.colour is not None:
        results = recoloured(results, chain.colour, place)
    for number, image in enumerate(results):
        image = coded(image, chain.first, place)
        if chain.resample is not None:
            full = image.shape[0]
            image = coded(resized(image, chain.resample.side(full), chain.resample.down), chain.between, place)
            image = resized(image, full, chain.resample.up)
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


def blurred(image: Image, blur: Blur | None, place: int) -> Image:
    """Blur an image by the sigma of a place."""
    if blur is None:
        return image
    side = 2 * blur.radius + 1
    return cv2.GaussianBlur(image, (side, side), float(blur.sigma[place])).astype(np.uint8, copy=False)


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

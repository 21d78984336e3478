"""Degradation of images as uploads degrade them: colour, resizing, blur, noise and JPEG.

What is random is drawn first, for n images at once (:func:`draw_degradation`), and then applied: by :mod:`.host` on the
host and by :mod:`~deepfake_core.training.pairs.device` for whole batches on a device. In a chain, every choice of a
kernel holds for all n images, and every number that can differ does.

Affine maps are ``float32 [n, 2, 3]`` from coordinates of the result to those of the input. In both, an image spans
[-1, 1], from the left edge of its first pixel to the right edge of its last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_core.training.data.colour import GREY, saturated

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Kernel = Literal["nearest", "area", "bilinear", "bicubic"]
Strength = Literal["standard", "strong"]
OfPair = Literal["real", "fake"]

STEP = 16
"""The sides of :class:`Size` are multiples of this number of pixels, the unit of JPEG."""

FEWEST = 80
"""Smallest side in pixels to which :class:`Resample` reduces images that :class:`Size` has reduced before."""


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
class Size:
    """Resizing to one side, whatever side an image has: what follows meets all images at the same resolution.

    Attributes:
        side: Side of the results in pixels.
        down: Kernel for larger images.
        up: Kernel for smaller images.
    """

    side: int
    down: Kernel
    up: Kernel

    def kernel(self, full: int) -> Kernel:
        """Return the kernel for an image whose side has ``full`` pixels."""
        return self.down if self.side < full else self.up


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
class Sharpening:
    """Unsharp masking: ``x + amount·(x - blurred x)``.

    Attributes:
        amount: ``float32 [n]``.
        blur: The blur.
    """

    amount: Floats
    blur: Blur


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
        detail: Which image of a pair gets the other one's energy in each octave of detail (:mod:`.detail`). What is
            sharp within an image then tells the two apart, but not how sharp an image is.
        colour: Change of colour and light.
        size: Resizing to the side at which the operations up to ``sharpening`` work.
        first: JPEG.
        resample: Resizing to a smaller side and back.
        between: JPEG at the smaller side of ``resample``.
        sharpening: Sharpening, as cameras and uploads do it.
        crop: Cut of the network's input; ``None`` resizes the whole image instead.
        blur: Blur at the size of the result.
        noise: Noise at the size of the result.
        last: JPEG at the size of the result.
    """

    detail: OfPair | None = None
    colour: Colour | None = None
    size: Size | None = None
    first: Jpeg | None = None
    resample: Resample | None = None
    between: Jpeg | None = None
    sharpening: Sharpening | None = None
    crop: Crop | None = None
    blur: Blur | None = None
    noise: Noise | None = None
    last: Jpeg | None = None


@dataclass(frozen=True)
class Chances:
    """How often and how strongly a chain degrades: shares of the chains, and ranges.

    Attributes:
        smallest: Factor of the smallest side that :func:`draw_size` is given.
        resample: Share of the chains that resize to a smaller side and back.
        lowest: Smallest ``scale`` of that.
        jpeg: Lowest quality of JPEG.
        sharpening: Share of the chains that sharpen.
        blur: Share of the chains that blur.
        sigma: Largest sigma of the blur in pixels.
        noise: Share of the chains that add noise.
        level: Largest sigma of the noise in grey levels.
    """

    smallest: float
    resample: float
    lowest: float
    jpeg: int
    sharpening: float
    blur: float
    sigma: float
    noise: float
    level: float


CHANCES: dict[Strength, Chances] = {
    "standard": Chances(
        smallest=1, resample=0.35, lowest=0.35, jpeg=30, sharpening=0.25, blur=0.18, sigma=1.5, noise=0.15, level=8
    ),
    "strong": Chances(
        smallest=0.7, resample=0.5, lowest=0.25, jpeg=20, sharpening=0.3, blur=0.3, sigma=2.2, noise=0.3, level=14
    ),
}
"""The chains that a recipe can ask for (:class:`~deepfake_core.contract.recipe.Pairs`)."""


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


def draw_sharpening(rng: np.random.Generator, n: int, least: float = 0.2, most: float = 1.2) -> Sharpening:
    """Draw sharpenings with amounts from ``least`` to ``most``, and sigmas of 0.5 to 1.5 pixels."""
    return Sharpening(uniform(rng, least, most, n), Blur(uniform(rng, 0.5, 1.5, n)))


def draw_size(rng: np.random.Generator, sides: tuple[float, float], *, strength: Strength = "standard") -> Size:
    """Draw the side to which images are brought first, between a smallest and a largest one in pixels."""
    side = float(rng.uniform(sides[0] * CHANCES[strength].smallest, sides[1]))
    return Size(STEP * max(2, round(side / STEP)), pick(rng, "area", "bilinear", "bicubic"), pick_up(rng))


def draw_degradation(
    rng: np.random.Generator,
    n: int,
    size: int,
    *,
    common: Size | None = None,
    colour: bool = False,
    crop: Crop | None = None,
    detail: OfPair | None = None,
    strength: Strength = "standard",
) -> Degradation:
    """Draw the chains of n images.

    Args:
        rng: Generator that decides them.
        n: Number of images.
        size: Side of the results in pixels.
        common: Side to which the images are brought before they are coded (:func:`draw_size`).
        colour: Whether colour and light change, too.
        crop: Cuts of the network's input; ``None`` resizes the whole images.
        detail: Which image of a pair gets the other one's amount of detail, if any.
        strength: How strongly chains degrade.
    """
    chances = CHANCES[strength]
    changed = draw_colour(rng, n, strong=True) if colour else None
    first = draw_jpeg(rng, n, 0.75, chances.jpeg + 5) if rng.random() < 0.8 else None
    resample = between = sharpening = blur = noise = None
    if rng.random() < chances.resample:
        # What is small already keeps enough pixels to show a face.
        lowest = chances.lowest if common is None else min(max(chances.lowest, FEWEST / common.side), 0.8)
        resample = Resample(float(rng.uniform(lowest, 0.9)), pick(rng, "area", "bilinear", "bicubic"), pick_up(rng))
        between = draw_jpeg(rng, n, 0.8, chances.jpeg + 10) if rng.random() < 0.5 else None
    if rng.random() < chances.sharpening:
        sharpening = draw_sharpening(rng, n)
    if rng.random() < chances.blur:
        blur = Blur(uniform(rng, 0.3, chances.sigma, n))
    if rng.random() < chances.noise:
        corner = rng.integers(0, len(noise_field(size)) - size + 1, (n, 2)).astype(np.int32)
        noise = Noise(uniform(rng, 1, chances.level, n), corner)
    last = draw_jpeg(rng, n, 0.8, chances.jpeg) if rng.random() < 0.4 else None
    return Degradation(detail, changed, common, first, resample, between, sharpening, crop, blur, noise, last)


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

"""Augmentations: what a source is perturbed by before blending, the chain that both classes go through, and policies.

Everything here takes ``uint8 [H, W, 3]`` RGB. A seed makes each call reproducible.

A policy is what a recipe's ``augment`` names: albumentations moves, blurs and encodes, and changes of colour are one
matrix per picture, so that a GPU can make them for a whole batch (:class:`DeviceAugment`) and a processor in one pass
over the pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.errors import TrainingDataError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it looks for a newer release on import otherwise

import albumentations as A

Image = NDArray[np.uint8]

# ITU-R BT.601: what a colour weighs in grey, and the axes of hue.
_GREY = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([_GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])

_KERNELS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)


@cache
def source_transform() -> A.Compose:
    """Statistics mismatch between a blend's source and its target, after arXiv 2204.08376, section 3.1.

    Hue and saturation move little: a face in another colour is found without looking for a boundary.
    """
    return A.Compose(
        [
            A.RGBShift((-20, 20), (-20, 20), (-20, 20), p=0.3),
            A.HueSaturationValue((-6, 6), (-20, 20), (-20, 20), p=0.3),
            A.RandomBrightnessContrast((-0.1, 0.1), (-0.1, 0.1), p=0.3),
            A.OneOf(
                [
                    A.Downscale(
                        (0.25, 0.5),
                        interpolation_pair={"downscale": cv2.INTER_NEAREST, "upscale": cv2.INTER_LINEAR},
                        p=1,
                    ),
                    A.Sharpen(alpha=(0.2, 0.5), lightness=(0.5, 1.0), p=1),
                ],
                p=1,
            ),
        ]
    )


@cache
def colour_transform() -> A.Compose:
    """Changes of colour and light that say nothing about being fake."""
    return A.Compose(
        [
            A.RGBShift((-20, 20), (-20, 20), (-20, 20), p=0.3),
            A.HueSaturationValue((-8, 8), (-35, 35), (-25, 25), p=0.3),
            A.RandomBrightnessContrast((-0.3, 0.3), (-0.3, 0.3), p=0.3),
            A.RandomGamma((70, 140), p=0.15),
            A.ToGray(p=0.06),
        ]
    )


def degrade(image: Image, rng: np.random.Generator, size: int) -> Image:
    """One random chain of resizing, blur, noise and codecs, ending at ``size`` × ``size``.

    Pictures reach a detector after an unknown number of uploads. Every picture of either class goes through
    this chain, so neither resolution nor codec tells the classes apart.
    """
    if rng.random() < 0.5:  # an upload at another size, before the crop was resized to the input
        image = _codec(image, rng) if rng.random() < 0.5 else image
        image = _resize(image, int(size * rng.uniform(0.4, 1.25)), rng)
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6)).astype(np.uint8)
    if rng.random() < 0.12:
        noise = rng.normal(0.0, rng.uniform(1.0, 9.0), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        image = _codec(image, rng)
    return image if image.shape[0] == size else _resize(image, size, rng)


def _resize(image: Image, side: int, rng: np.random.Generator) -> Image:
    kernel = cv2.INTER_AREA if side < image.shape[0] and rng.random() < 0.5 else _KERNELS[int(rng.integers(1, 5))]
    return cv2.resize(image, (side, side), interpolation=kernel).astype(np.uint8)


def _codec(image: Image, rng: np.random.Generator) -> Image:
    if rng.random() < 0.85:
        subsampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            int(rng.integers(30, 100)),
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            subsampling[int(rng.random() < 0.3)],
        ]
        return recode(image, ".jpg", options)
    return recode(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, int(rng.integers(40, 100))])


def recode(image: Image, extension: str, options: list[int]) -> Image:
    """Encode and decode again."""
    _, data = cv2.imencode(extension, image[..., ::-1], options)
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


@dataclass(frozen=True, slots=True)
class ColourJitter:
    """Random brightness, contrast, saturation and hue, as one linear map of RGB.

    Attributes:
        brightness, contrast, saturation: Factors are drawn from ``1 ± this``; contrast turns about the picture's mean.
        hue: Largest turn of the hue, as a share of the full circle.
        p: Share of pictures that change.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    p: float = 0.8

    def maps(self, uniform: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """From numbers in [0, 1), ``[N, 5]``, to the matrices ``float32 [N, 3, 3]`` and the shares ``float32 [N]``.

        A colour x becomes ``matrix · x + share · mean``, where the mean is that of the picture's grey.
        """
        span = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        offset = np.where(uniform[:, :1] < self.p, (2 * uniform[:, 1:] - 1) * span, 0.0)
        brightness, contrast, saturation = (1 + offset[:, :3]).T
        angle = 2 * np.pi * offset[:, 3]
        turn = np.zeros((len(uniform), 3, 3))
        turn[:, 0, 0] = 1
        turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
        turn[:, 2, 1] = np.sin(angle)
        turn[:, 1, 2] = -turn[:, 2, 1]
        fade = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * _GREY
        # Turning and fading leave grey as it is, so that the mean's share need not go through them.
        matrix = (brightness * contrast)[:, None, None] * (np.linalg.inv(_YIQ) @ turn @ _YIQ @ fade)
        return matrix.astype(np.float32), (brightness * (1 - contrast)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to augment.

    Attributes:
        summary: For listings.
        flip: Whether half of the pictures are mirrored.
        colour: How colours change.
        transform: Gives what albumentations does at the size of the network's input.
        chain: Whether the picture comes to that size through
            :func:`degrade`.
    """

    summary: str
    flip: bool = False
    colour: ColourJitter | None = None
    transform: Callable[[], A.Compose] | None = None
    chain: bool = False

    def apply(
        self,
        crops: Sequence[Image],
        rng: np.random.Generator,
        size: tuple[int, int],
        resample: Callable[[Image], Image],
        *,
        on_device: bool = False,
    ) -> list[Image]:
        """Augment pictures, all alike, and bring them to the network's input.

        Args:
            crops: ``uint8 [h, w, 3]`` each: one picture, or the frames of a clip.
            rng: Decides everything.
            size: Height and width of the input in pixels.
            resample: Brings a crop to that size.
            on_device: Leave flips and colours to :class:`DeviceAugment`.
        """
        chance, uniform = rng.random(), rng.random((1, 5))
        seed = int(rng.integers(2**31))
        flip = self.flip and not on_device and chance < 0.5
        images = list(crops) if self.chain else [resample(crop) for crop in crops]
        if flip:
            images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        if self.colour is not None and not on_device and uniform[0, 0] < self.colour.p:
            images = _recoloured(images, *self.colour.maps(uniform))
        if self.chain:
            if size[0] != size[1]:
                raise TrainingDataError(f"augment=degrade makes square inputs, not {size}; choose another augmentation")
            return [degrade(image, np.random.default_rng(seed), size[0]) for image in images]
        if self.transform is not None:
            transform = self.transform()
            for index, image in enumerate(images):
                transform.set_random_seed(seed)
                images[index] = transform(image=image)["image"]
        return images


def _recoloured(images: list[Image], matrix: NDArray[np.float32], share: NDArray[np.float32]) -> list[Image]:
    mean = np.mean([cv2.mean(image)[:3] for image in images], axis=0) @ _GREY
    both = np.hstack([matrix[0], np.full((3, 1), share[0] * mean, np.float32)])
    return [cv2.transform(image, both).astype(np.uint8, copy=False) for image in images]


def _blur_or_codec(p: float, quality: tuple[int, int]) -> A.OneOf:
    return A.OneOf([A.GaussianBlur(blur_limit=(3, 7), p=1), A.ImageCompression(quality_range=quality, p=1)], p=p)


def _moved(scale: float, shift: float, degrees: float, p: float) -> A.Affine:
    return A.Affine(
        scale=(1 - scale, 1 + scale),
        translate_percent=(-shift, shift),
        rotate=(-degrees, degrees),
        border_mode=cv2.BORDER_REFLECT_101,
        p=p,
    )


@cache
def _standard() -> A.Compose:
    return A.Compose([_blur_or_codec(0.5, (40, 95))])


@cache
def _radar() -> A.Compose:
    return A.Compose([_moved(0.1, 0.0625, 15, 0.5), _blur_or_codec(0.5, (60, 100))])


@cache
def _cvt() -> A.Compose:
    return A.Compose([_moved(0.05, 0.03, 10, 0.5)])


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "none": Policy("nothing but the crop's jitter"),
        "standard": Policy(
            "flip, colour, and blur or JPEG", flip=True, colour=ColourJitter(0.2, 0.2, 0.2, 0.02), transform=_standard
        ),
        "radar": Policy(  # 004-14
            "flip, shift/scale/rotate, blur or JPEG, colour",
            flip=True,
            colour=ColourJitter(0.2, 0.2, 0.2, 0.05),
            transform=_radar,
        ),
        "cvt": Policy(
            "flip, slight turns, colour", flip=True, colour=ColourJitter(0.2, 0.2, 0.1, 0.02), transform=_cvt
        ),
        "degrade": Policy(
            "flip, colour, and a random chain of resizing, blur, noise and codecs",
            flip=True,
            colour=ColourJitter(0.3, 0.3, 0.3, 0.03),
            chain=True,
        ),
    }
)
"""Augmentations by the name that a recipe's ``augment`` has."""


def policy(name: str) -> Policy:
    """The augmentation of a name.

    Raises:
        TrainingDataError: There is none.
    """
    if name not in POLICIES:
        raise TrainingDataError(f"augment={name!r} is unknown; choose one of {', '.join(POLICIES)}")
    return POLICIES[name]


class DeviceAugment(nn.Module):
    """The flips and colours of a policy for a whole batch on its device.

    The step and a sample's place in the batch decide what happens to it, on any device and however the batch is
    shared out to processes.

    Args:
        name: Of the policy.
        seed: The recipe's.
    """

    grey: Tensor

    def __init__(self, name: str, seed: int) -> None:
        super().__init__()
        self.policy, self.seed = policy(name), seed
        self.register_buffer("grey", torch.tensor(_GREY, dtype=torch.float32), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor, step: int, places: NDArray[np.intp] | None = None) -> Tensor:
        """``uint8 [N, H, W, 3]`` or clips ``[N, T, H, W, 3]`` → the same.

        Args:
            images: RGB.
            step: Number of the forward pass.
            places: Each sample's place in the batch of all processes; by default 0 to N-1.
        """
        places = np.arange(len(images)) if places is None else places
        drawn = np.random.default_rng([self.seed, step, 0, 3]).random((int(places.max()) + 1, 6))[places]
        each = (-1,) + (1,) * (images.ndim - 1)
        if self.policy.flip:
            flip = torch.from_numpy(drawn[:, 0] < 0.5).to(images.device).view(each)
            images = torch.where(flip, images.flip(-2), images)
        if self.policy.colour is not None:
            matrix, share = (torch.from_numpy(part).to(images.device) for part in self.policy.colour.maps(drawn[:, 1:]))
            pixels = images.to(torch.float32).flatten(1, -2)
            mean = (pixels.mean(1) @ self.grey) * share
            pixels = torch.baddbmm(mean[:, None, None], pixels, matrix.mT)
            images = pixels.round_().clamp_(0, 255).to(torch.uint8).view_as(images)
        return images

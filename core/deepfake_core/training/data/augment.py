"""Augmentation policies for labelled images: what the ``augment`` field of a recipe names.

Albumentations makes the geometric changes, the blur and the codecs. Changes of colour are one matrix per image, so
that a GPU can make them for a whole batch (:class:`DeviceAugment`), and a CPU in one pass over the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.errors import TrainingDataError
from deepfake_core.runtimes.torch import to_device
from deepfake_core.training.data.colour import GREY, ColourJitter
from deepfake_core.training.data.degrade import Image, degrade

if TYPE_CHECKING:
    import albumentations as A


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to augment images.

    Attributes:
        summary: Description for listings.
        flip: Whether half of the images are mirrored.
        colour: Random changes of colour; ``None`` leaves the colours as they are.
        transform: Function that returns the albumentations transform, which runs at the size of the network's input.
        chain: Whether :func:`~deepfake_core.training.data.degrade.degrade` brings the image to the size of the
            network's input.
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
        """Augment images ``uint8 [h, w, 3]`` RGB, all in the same way; each becomes ``uint8 [H, W, 3]``.

        Args:
            crops: One image, or the frames of a clip.
            rng: Generator that decides every change.
            size: Height and width of the network's input in pixels.
            resample: Function that resizes a crop to ``size``.
            on_device: Whether to leave flips and colours to :class:`DeviceAugment`.

        Raises:
            TrainingDataError: The policy makes square inputs only, and ``size`` is not square.
        """
        chance, uniform = rng.random(), rng.random((1, 5))
        seed = int(rng.integers(2**31))
        flip = self.flip and not on_device and chance < 0.5
        images = list(crops) if self.chain else [resample(crop) for crop in crops]
        if flip:
            images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        if self.colour is not None and not on_device and uniform[0, 0] < self.colour.p:
            images = self.colour.apply(images, uniform)
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


@cache
def _transform(name: str) -> A.Compose:
    """Return the albumentations transform of a policy, which is imported where a policy has one."""
    import albumentations as A

    def affine(scale: float, shift: float, degrees: float) -> A.Affine:
        return A.Affine(
            scale=(1 - scale, 1 + scale),
            translate_percent=(-shift, shift),
            rotate=(-degrees, degrees),
            border_mode=cv2.BORDER_REFLECT_101,
            p=0.5,
        )

    def blur_or_codec(quality: tuple[int, int]) -> A.OneOf:
        return A.OneOf([A.GaussianBlur(blur_limit=(3, 7), p=1), A.ImageCompression(quality_range=quality, p=1)], p=0.5)

    changes = {
        "standard": lambda: [blur_or_codec((40, 95))],
        "affine": lambda: [affine(0.05, 0.03, 10)],
        "affine-codec": lambda: [affine(0.1, 0.0625, 15), blur_or_codec((60, 100))],
    }
    return A.Compose(changes[name]())


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "none": Policy("nothing but the crop's jitter"),
        "standard": Policy(
            "flip, colour, and blur or JPEG",
            flip=True,
            colour=ColourJitter(0.2, 0.2, 0.2, 0.02),
            transform=partial(_transform, "standard"),
        ),
        "affine": Policy(
            "flip, slight shift/scale/rotate, colour",
            flip=True,
            colour=ColourJitter(0.2, 0.2, 0.1, 0.02),
            transform=partial(_transform, "affine"),
        ),
        "affine-codec": Policy(
            "flip, shift/scale/rotate, blur or JPEG, colour",
            flip=True,
            colour=ColourJitter(0.2, 0.2, 0.2, 0.05),
            transform=partial(_transform, "affine-codec"),
        ),
        "degrade": Policy(
            "flip, colour, and a random chain of resizing, blur, noise and codecs",
            flip=True,
            colour=ColourJitter(0.3, 0.3, 0.3, 0.03),
            chain=True,
        ),
    }
)
"""Augmentation policies by the name that the ``augment`` field of a recipe has."""


def policy(name: str) -> Policy:
    """Return the augmentation policy of a name.

    Raises:
        TrainingDataError: There is no policy of this name.
    """
    if name not in POLICIES:
        raise TrainingDataError(f"augment={name!r} is unknown; choose one of {', '.join(POLICIES)}")
    return POLICIES[name]


class Augment(Protocol):
    """Augmentation of a whole batch on its device."""

    def __call__(self, images: Tensor, step: int, places: NDArray[np.intp], /) -> Tensor:
        """Augment ``uint8 [N, H, W, 3]`` RGB, or clips ``uint8 [N, T, H, W, 3]``; the result has the same shape.

        Args:
            images: Batch of this process.
            step: Number of the forward pass.
            places: ``intp [N]``: place of each sample in the batch of all processes.
        """


class DeviceAugment(nn.Module):
    """The flips and colours of a policy for a whole batch on its device.

    The step and a sample's place in the batch decide its changes, on any device and however the batch is divided among
    processes.

    Args:
        name: Name of the policy.
        seed: Seed of the recipe.
    """

    grey: Tensor

    def __init__(self, name: str, seed: int) -> None:
        super().__init__()
        self.policy, self.seed = policy(name), seed
        self.register_buffer("grey", torch.tensor(GREY, dtype=torch.float32), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor, step: int, places: NDArray[np.intp] | None = None) -> Tensor:
        """Augment ``uint8 [N, H, W, 3]`` RGB, or clips ``uint8 [N, T, H, W, 3]``; the result has the same shape.

        Args:
            images: Batch of this process.
            step: Number of the forward pass.
            places: ``intp [N]``: place of each sample in the batch of all processes; by default 0 to N-1.
        """
        places = np.arange(len(images)) if places is None else places
        drawn = np.random.default_rng([self.seed, step, 0, 3]).random((int(places.max()) + 1, 6))[places]
        each = (-1,) + (1,) * (images.ndim - 1)
        if self.policy.flip:
            flip = to_device(drawn[:, 0] < 0.5, images.device).view(each)
            images = torch.where(flip, images.flip(-2), images)
        if self.policy.colour is not None:
            maps = self.policy.colour.maps(drawn[:, 1:])
            matrix, weight = (to_device(part, images.device) for part in maps)
            pixels = images.to(torch.float32).flatten(1, -2)
            mean = (pixels.mean(1) @ self.grey) * weight
            pixels = torch.baddbmm(mean[:, None, None], pixels, matrix.mT)
            images = pixels.round_().clamp_(0, 255).to(torch.uint8).view_as(images)
        return images

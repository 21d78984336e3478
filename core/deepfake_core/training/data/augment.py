"""Augmentation policies for labelled images: what the ``augment`` field of a recipe names.

OpenCV makes the geometric changes, the blur and the codecs. Changes of colour are one matrix per image, so that a GPU
can make them for a whole batch (:class:`DeviceAugment`), and a CPU in one pass over the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.errors import TrainingDataError
from deepfake_core.runtimes.torch import to_device
from deepfake_core.training.data.colour import GREY, ColourJitter
from deepfake_core.training.data.degrade import Image, degrade, recode


@dataclass(frozen=True, slots=True)
class Movement:
    """Random scaling, shift and rotation of half of the images, which are reflected beyond their edges.

    Attributes:
        scale: Largest change of width and of height, which are drawn apart, as a fraction of them.
        shift: Largest shift along either axis, as a fraction of the side.
        degrees: Largest rotation in either direction.
    """

    scale: float
    shift: float
    degrees: float

    def apply(self, image: Image, rng: np.random.Generator) -> Image:
        """Move an image ``uint8 [H, W, 3]``, or leave it where it is."""
        if rng.random() < 0.5:
            return image
        scale, shift = 1 + self.scale * rng.uniform(-1, 1, 2), self.shift * rng.uniform(-1, 1, 2)
        angle = np.radians(self.degrees * rng.uniform(-1, 1))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
        size = image.shape[1], image.shape[0]
        centre = (np.array(size) - 1) / 2
        move = np.column_stack([turn, centre + shift * size - turn @ centre])
        return cv2.warpAffine(image, move, size, borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8, copy=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to augment images.

    Attributes:
        summary: Description for listings.
        flip: Whether half of the images are mirrored.
        colour: Random changes of colour; ``None`` leaves the colours as they are.
        movement: Random scaling, shift and rotation; ``None`` for none.
        quality: Lowest and highest JPEG quality: a quarter of the images is encoded, and a quarter blurred; ``None``
            for neither.
        chain: Whether :func:`~deepfake_core.training.data.degrade.degrade` brings the image to the size of the
            network's input.
    """

    summary: str
    flip: bool = False
    colour: ColourJitter | None = None
    movement: Movement | None = None
    quality: tuple[int, int] | None = None
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
            images = [cv2.flip(image, 1).astype(np.uint8, copy=False) for image in images]
        if self.colour is not None and not on_device and uniform[0, 0] < self.colour.p:
            images = self.colour.apply(images, uniform)
        if self.chain:
            if size[0] != size[1]:
                raise TrainingDataError(f"augment=degrade makes square inputs, not {size}; choose another augmentation")
            return [degrade(image, np.random.default_rng(seed), size[0]) for image in images]
        return [self._moved_and_coded(image, np.random.default_rng(seed)) for image in images]

    def _moved_and_coded(self, image: Image, rng: np.random.Generator) -> Image:
        image = self.movement.apply(image, rng) if self.movement is not None else image
        if self.quality is None or rng.random() < 0.5:
            return image
        if rng.random() < 0.5:
            low, high = self.quality
            return recode(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(low, high + 1))])
        side = int(rng.choice((3, 5, 7)))
        return cv2.GaussianBlur(image, (side, side), rng.uniform(0.5, 3.0)).astype(np.uint8, copy=False)


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "none": Policy("nothing but the crop's jitter"),
        "standard": Policy(
            "flip, colour, and blur or JPEG",
            flip=True,
            colour=ColourJitter(0.2, 0.2, 0.2, 0.02),
            quality=(40, 95),
        ),
        "affine": Policy(
            "flip, slight shift/scale/rotate, colour",
            flip=True,
            colour=ColourJitter(0.2, 0.2, 0.1, 0.02),
            movement=Movement(0.05, 0.03, 10),
        ),
        "affine-codec": Policy(
            "flip, shift/scale/rotate, blur or JPEG, colour",
            flip=True,
            colour=ColourJitter(0.2, 0.2, 0.2, 0.05),
            movement=Movement(0.1, 0.0625, 15),
            quality=(60, 100),
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

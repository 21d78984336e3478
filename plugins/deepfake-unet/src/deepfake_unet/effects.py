"""The effect of a perturbation on networks, compared with trivial changes of the same size and with a strong attack.

Three changes are trivial, and have the same mean square in every image as the perturbation: random noise, noise that is
as smooth as the perturbation, and an image that is brighter. A perturbation with no larger effect protects nothing. The
effect is the change of the output's structure, because generators preserve colours: a tint disturbs nothing.

The reference is projected gradient descent (PGD, Madry et al. 2018, arXiv 1706.06083) on each network itself. A
protector that runs in one pass and has never seen the network cannot reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfake_core.evaluation.metrics import grouped_bootstrap
from deepfake_core.protect import attacks
from deepfake_core.protect.image_metrics import psnr, ssim
from deepfake_core.protect.protectors import levels
from deepfake_core.training.data.degrade import recode
from deepfake_unet.training.surrogates import Surrogate, SwapSurrogate

Images = NDArray[np.uint8]
"""Images, uint8 [N, H, W, 3] RGB."""

_CHUNK = 16
# Standard deviation of the blur that makes noise as smooth as the perturbation, in sides of the image.
_SMOOTH = 0.018


def _jpeg75(image: Images) -> Images:
    return recode(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 75])


def _halved(image: Images) -> Images:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)


PATHS: Mapping[str, Callable[[Images], Images]] = {
    "as it is": lambda image: image,
    "JPEG 75": _jpeg75,
    "half size": _halved,
}
"""Degradation of an image before the network sees it, by name; clean images are degraded alike."""


@dataclass(frozen=True)
class Measured:
    """A mean over images with its interval.

    Attributes:
        value: Mean over the images.
        low: Lower end of the 95 % interval of the mean, by the bootstrap over images.
        high: Upper end of that interval.
        count: Number of images.
    """

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Measured:
        """Return the mean of the finite values of float64 [N], with its interval."""
        finite = values[np.isfinite(values)]
        mean = float(finite.mean()) if len(finite) else float("nan")
        low, high = grouped_bootstrap(
            np.zeros(len(finite)),
            finite,
            np.arange(len(finite)),
            lambda _fake, drawn: float(np.mean(drawn)),
            rate=False,
        )
        return cls(mean, low, high, len(finite))


@dataclass(frozen=True)
class Effect:
    """The effect of one perturbation on one network after one degradation.

    Attributes:
        surrogate: Name of the network.
        attack: Name of the perturbation: ``protector``, ``noise``, ``smooth noise``, ``brighter`` or ``PGD``.
        path: Name of the degradation: a key of :data:`PATHS`.
        change: Distance between the structures of the outputs for the changed and the clean image, divided by the
            spread of the clean one; 0 where nothing changes.
        swap_psnr_db: For face swappers, PSNR in dB of swaps with the perturbation against swaps without it.
        swap_ssim: For face swappers, SSIM of swaps with the perturbation against swaps without it.
    """

    surrogate: str
    attack: str
    path: str
    change: Measured
    swap_psnr_db: Measured | None = None
    swap_ssim: Measured | None = None


def trivial(clean: Images, protected: Images, seed: int = 0) -> dict[str, Images]:
    """Return trivial changes whose mean square in each image is that of a perturbation.

    Args:
        clean: Images, uint8 [N, H, W, 3] RGB.
        protected: The same images with the perturbation.
        seed: Seed of the noise.

    Returns:
        Name → changed images uint8 [N, H, W, 3] RGB.
    """
    rng = np.random.default_rng(seed)
    size = np.sqrt(np.square(protected.astype(np.float32) - clean).mean((1, 2, 3), keepdims=True))
    white = rng.standard_normal(clean.shape, np.float32)
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), _SMOOTH * len(image)) for image in white])
    smooth /= smooth.std((1, 2, 3), keepdims=True)
    changes = {"noise": white, "smooth noise": smooth, "brighter": np.ones_like(white)}
    return {name: attacks.added(clean, np.round(size * change).astype(np.int16)) for name, change in changes.items()}


def bounded(images: Images, change: NDArray[np.int16], epsilon: float) -> Images:
    """Add levels int16 [N, H, W, 3] to images uint8 [N, H, W, 3], within the bound and the pixel range."""
    most = levels(epsilon)
    return attacks.added(images, np.clip(change, -most, most))


def pgd(surrogate: Surrogate, images: Images, epsilon: float, device: torch.device, steps: int = 30) -> Images:
    """Perturb images uint8 [N, H, W, 3] by projected gradient descent on the change of one network's output.

    Args:
        surrogate: Network to attack.
        images: Images, uint8 [N, H, W, 3] RGB.
        epsilon: Bound of the change, in units of the pixel range [0, 1].
        device: Device of the network.
        steps: Number of steps.
    """

    def moved(clean: Tensor, changed: Tensor, _rows: slice) -> Tensor:
        return surrogate.change(clean, changed, structure=True).clamp_min(1e-12).sqrt()

    about = f"attacking {surrogate.name}"
    return attacks.pgd(moved, images, levels(epsilon), steps=steps, batch=_CHUNK, device=device, about=about)


def effect(
    surrogate: Surrogate,
    attack: str,
    path: str,
    clean: Images,
    changed: Images,
    decoders: Sequence[int],
    device: torch.device,
) -> Effect:
    """Measure the effect of one perturbation on one network after one degradation.

    Args:
        surrogate: Network that is measured.
        attack: Name of the perturbation, for the record.
        path: Name of the degradation: a key of :data:`PATHS`.
        clean: Images, uint8 [N, H, W, 3] RGB.
        changed: The same images with the perturbation.
        decoders: For each image, the decoder of the other set of faces.
        device: Device of the network.
    """
    arrive = PATHS[path]
    before, after = (np.stack([arrive(image) for image in images]) for images in (clean, changed))
    changes, ratios, likenesses = [], [], []
    for start in range(0, len(clean), _CHUNK):
        here = slice(start, start + _CHUNK)
        one, other = _tensor(before[here], device), _tensor(after[here], device)
        with torch.no_grad():
            changes.append(surrogate.change(one, other, structure=True).clamp_min(0).sqrt().cpu().numpy())
        if isinstance(surrogate, SwapSurrogate):
            for old, new in zip(
                swapped(surrogate, one, decoders[here]), swapped(surrogate, other, decoders[here]), strict=True
            ):
                ratios.append(psnr(old, new))
                likenesses.append(ssim(old, new))
    return Effect(
        surrogate.name,
        attack,
        path,
        Measured.of(np.concatenate(changes).astype(np.float64)),
        Measured.of(np.array(ratios)) if ratios else None,
        Measured.of(np.array(likenesses)) if likenesses else None,
    )


def swapped(surrogate: SwapSurrogate, images: Tensor, decoders: Sequence[int]) -> Images:
    """Return images float32 [N, 3, H, W] in [0, 1] as the given decoders decode them, uint8 [N, S, S, 3]."""
    with torch.no_grad():
        both = torch.stack([surrogate.shown(images, decoder) for decoder in range(2)])
    chosen = both[torch.as_tensor(list(decoders)), torch.arange(len(images))]
    return (255 * chosen).round().permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)


def _tensor(images: Images, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 255

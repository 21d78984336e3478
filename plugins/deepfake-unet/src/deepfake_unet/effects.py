"""What a perturbation does to networks: beside trivial changes of the same bound, and beside the best that is known.

Two changes are trivial: random noise, and a picture that is brighter by the whole bound. The second one matters for
face swappers. They hand colours on, so brightening moves their output without disturbing the swap; what does no more
than that protects nothing, and SSIM, which hardly sees it, tells the two apart.

The reference is projected gradient descent (PGD, Madry et al. 2018, arXiv 1706.06083) on each network itself, which a
protector that answers in one pass, and has never seen the network, cannot reach.
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
from deepfake_unet.surrogates import Surrogate, SwapSurrogate

Images = NDArray[np.uint8]

_CHUNK = 16


def _jpeg75(image: Images) -> Images:
    return recode(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 75])


def _halved(image: Images) -> Images:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)


PATHS: Mapping[str, Callable[[Images], Images]] = {
    "as it is": lambda image: image,
    "JPEG 75": _jpeg75,
    "half size": _halved,
}
"""What happens to a picture before the network sees it; clean pictures go the same way."""


@dataclass(frozen=True)
class Measured:
    """One figure.

    Attributes:
        value: Mean over the pictures.
        low, high: 95 % interval of the mean, by the bootstrap over pictures.
        count: Pictures.
    """

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Measured:
        """The mean of ``float64 [N]``, with its interval."""
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
    """What one perturbation does to one network on one path.

    Attributes:
        surrogate: Name of the network.
        attack: ``protector``, ``noise``, ``brighter`` or ``PGD``.
        path: A key of :data:`PATHS`.
        change: Distance of the answer from the answer to the clean picture, over the clean answer's spread; 0 where
            nothing changes.
        swap_psnr_db, swap_ssim: Of a face swapper: swapped picture with against without the perturbation.
    """

    surrogate: str
    attack: str
    path: str
    change: Measured
    swap_psnr_db: Measured | None = None
    swap_ssim: Measured | None = None


def noise(images: Images, epsilon: float, seed: int = 0) -> Images:
    """Every channel of ``uint8 [N, H, W, 3]`` up or down by the whole bound, at random."""
    return attacks.shaken(images, levels(epsilon), seed)


def brighter(images: Images, epsilon: float) -> Images:
    """Every channel of ``uint8 [N, H, W, 3]`` up by the whole bound."""
    return bounded(images, np.full(images.shape, levels(epsilon), np.int16), epsilon)


def bounded(images: Images, change: NDArray[np.int16], epsilon: float) -> Images:
    """Add levels to ``uint8 [N, H, W, 3]`` within the bound and the pixel range."""
    most = levels(epsilon)
    return attacks.added(images, np.clip(change, -most, most))


def pgd(surrogate: Surrogate, images: Images, epsilon: float, device: torch.device, steps: int = 30) -> Images:
    """Perturb ``uint8 [N, H, W, 3]`` by projected gradient descent on the change of one network's answer."""

    def moved(clean: Tensor, changed: Tensor, _rows: slice) -> Tensor:
        return surrogate.change(clean, changed).clamp_min(1e-12).sqrt()

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
    """Measure one perturbation.

    Args:
        surrogate: The network.
        attack: Name of the perturbation, for the record.
        path: A key of :data:`PATHS`.
        clean: uint8 [N, H, W, 3] RGB.
        changed: The same pictures, perturbed.
        decoders: Of each picture, the decoder of the other set of faces.
        device: Where the network is.
    """
    arrive = PATHS[path]
    before, after = (np.stack([arrive(image) for image in images]) for images in (clean, changed))
    changes, ratios, likenesses = [], [], []
    for start in range(0, len(clean), _CHUNK):
        here = slice(start, start + _CHUNK)
        one, other = _tensor(before[here], device), _tensor(after[here], device)
        with torch.no_grad():
            changes.append(surrogate.change(one, other).clamp_min(0).sqrt().cpu().numpy())
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
    """Faces as the given decoders show them: ``float32 [N, 3, H, W]`` → ``uint8 [N, S, S, 3]``."""
    with torch.no_grad():
        both = torch.stack([surrogate.shown(images, decoder) for decoder in range(2)])
    chosen = both[torch.as_tensor(list(decoders)), torch.arange(len(images))]
    return (255 * chosen).round().permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)


def _tensor(images: Images, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 255

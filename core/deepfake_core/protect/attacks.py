"""Adversarial perturbations of images by a few levels, and random perturbations for comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_core.progress import track

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Images: TypeAlias = NDArray[np.uint8]
Gain: TypeAlias = "Callable[[Tensor, Tensor, slice], Tensor]"
"""Function of clean images, changed images (``float32 [N, 3, H, W]`` in [0, 1]) and their rows → objective ``[N]``."""


def pgd(
    gain: Gain,
    images: Images,
    levels: int,
    *,
    steps: int,
    batch: int,
    device: torch.device,
    begin: Images | None = None,
    about: str = "attacking",
) -> Images:
    """Change images ``uint8 [N, H, W, 3]`` by at most ``levels`` of 255 in each channel, so that ``gain`` grows.

    The method is projected gradient descent (Madry et al. 2018, arXiv 1706.06083). Each step follows the sign of the
    gradient, and the result is rounded to whole levels. No gradients are stored in the parameters of networks.

    Args:
        gain: Objective that is maximised.
        images: Images ``uint8 [N, H, W, 3]`` RGB.
        levels: Bound of the change, in levels of 255.
        steps: Number of steps; the size of each is ``2.5 / steps`` of the bound.
        batch: Number of images in a batch.
        device: Device on which ``gain`` is computed.
        begin: Images within the bound from which the attack starts, ``uint8 [N, H, W, 3]``. By default the start is
            random, and depends only on the position of the batch.
        about: Label of the progress bar.

    Returns:
        Changed images ``uint8 [N, H, W, 3]`` RGB.

    Raises:
        ModuleNotFoundError: torch is not installed.
    """
    import torch

    most = levels / 255
    done = [np.empty_like(images[:0])]
    for start in track(range(0, len(images), batch), about):
        rows = slice(start, start + batch)
        clean = _tensor(images[rows], device)
        if begin is None:
            generator = torch.Generator().manual_seed(start)
            change = most * (2 * torch.rand(clean.shape, generator=generator).to(device) - 1)
        else:
            change = _tensor(begin[rows], device) - clean
        for _ in range(steps):
            change.requires_grad_(True)
            (slope,) = torch.autograd.grad(gain(clean, (clean + change).clamp(0, 1), rows).sum(), change)
            change = (change.detach() + 2.5 * most / steps * slope.sign()).clamp(-most, most)
        found = (255 * change.permute(0, 2, 3, 1)).round().cpu().numpy().astype(np.int16)
        done.append(added(images[rows], found))
    return np.concatenate(done)


def _tensor(images: Images, device: torch.device) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 255


def shaken(images: Images, levels: int, seed: int = 0) -> Images:
    """Change every channel of images ``uint8 [N, H, W, 3]`` by plus or minus ``levels`` of 255, at random."""
    return added(images, np.random.default_rng(seed).choice(np.array([-levels, levels], np.int16), images.shape))


def added(images: Images, change: NDArray[np.int16]) -> Images:
    """Add levels ``int16 [N, H, W, 3]`` to images ``uint8 [N, H, W, 3]``, and clip the sum to [0, 255]."""
    changed: Images = np.clip(images.astype(np.int16) + change, 0, 255).astype(np.uint8)
    return changed

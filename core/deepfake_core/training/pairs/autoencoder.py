"""Small convolutional autoencoders of faces: architecture, training and reconstruction."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.progress import duration, track
from deepfake_core.runtimes.torch import autocast, has_bf16
from deepfake_registry.manifest import Frozen

Upsampling = Literal["nearest", "transposed", "shuffle", "bilinear"]
log = logging.getLogger("deepfake.training")

PATCH = 64
"""Side in pixels of the parts of faces on which the autoencoders, which are convolutional, are trained."""

PEAK_RATE = 3e-3
"""Largest learning rate of an autoencoder's training."""


class DecoderSpec(Frozen):
    """Architecture of one autoencoder.

    Attributes:
        factor: Side of a latent cell in pixels.
        latent: Number of channels of the latent.
        upsampling: Up-sampling layer of the decoder.
        width: Number of channels at half resolution; there are twice as many at lower resolutions.
    """

    factor: Literal[4, 8]
    latent: int
    upsampling: Upsampling
    width: int = 32

    def __str__(self) -> str:
        return f"{self.upsampling} ×{self.factor}"


class Autoencoder(nn.Module):
    """Convolutional autoencoder of images ``float32 [N, 3, H, W]`` in [-1, 1]; H and W are multiples of the factor.

    Nearly all of the work is done at a quarter of the resolution, so that the training takes minutes on a CPU.

    Args:
        spec: Architecture of the autoencoder.
    """

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        levels = spec.factor.bit_length() - 1
        widths = [spec.width] + [2 * spec.width] * (levels - 1)
        encoder: list[nn.Module] = []
        for before, after in zip([3, *widths], widths, strict=False):
            encoder += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
        self.encoder = nn.Sequential(*encoder, _Residual(widths[-1]), nn.Conv2d(widths[-1], spec.latent, 1))
        decoder: list[nn.Module] = [nn.Conv2d(spec.latent, widths[-1], 3, padding=1), _Residual(widths[-1])]
        for before, after in zip(widths[::-1], [*widths[-2::-1], spec.width // 2], strict=True):
            decoder += [*_upsample(before, after, spec.upsampling), nn.SiLU()]
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(spec.width // 2, 3, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images ``float32 [N, 3, H, W]`` in [-1, 1]; the result has the same shape and range."""
        restored: Tensor = torch.tanh(self.decoder(torch.tanh(self.encoder(images))))
        return restored


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.body(x)
        return changed


def _upsample(before: int, after: int, kind: Upsampling) -> list[nn.Module]:
    if kind == "transposed":
        return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
    if kind == "shuffle":
        return [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2)]
    return [nn.Upsample(scale_factor=2, mode=kind), nn.Conv2d(before, after, 3, padding=1)]


def train_autoencoder(
    spec: DecoderSpec, pixels: NDArray[np.uint8], *, steps: int, batch_size: int, seed: int, device: torch.device
) -> Autoencoder:
    """Train an autoencoder on real faces ``uint8 [N, S, S, 3]`` RGB.

    The loss is L1 on the pixels plus twice L1 on the differences of neighbouring pixels. On a GPU the faces are copied
    there as a whole, and the network computes in bfloat16 where the GPU has it. torch's generator is left as it was.

    Args:
        spec: Architecture of the autoencoder.
        pixels: Real faces.
        steps: Number of optimiser steps.
        batch_size: Number of images per step.
        seed: Seed for the initial weights and the batches.
        device: Device on which to train.

    Returns:
        The autoencoder in evaluation mode, on ``device``.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Autoencoder(spec)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    on_gpu = device.type == "cuda"
    faces = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device)
    side = min(PATCH, pixels.shape[1])
    # Everything is drawn beforehand, so that no step waits for a copy to the device.
    rows = torch.from_numpy(rng.integers(len(pixels), size=(steps, batch_size))).to(device)
    corners = rng.integers(pixels.shape[1] - side + 1, size=(steps, 2)).tolist()
    flips = (rng.random(steps) < 0.5).tolist()
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), fused=on_gpu)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=PEAK_RATE, total_steps=steps)
    precision = "bf16" if has_bf16(device) else "fp32"
    begin = monotonic()
    for step in track(range(steps), f"autoencoder {spec}", unit="steps"):
        (y, x), flip = corners[step], flips[step]
        real = _to_tensor(faces[:, y : y + side, x : x + side].index_select(0, rows[step]))
        real = real.flip(3) if flip else real
        with autocast(device, precision):
            fake = model(real).float()
        loss = F.l1_loss(fake, real) + 2 * F.l1_loss(_gradients(fake), _gradients(real))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    model.eval()
    log.info(
        "autoencoder %s: %d steps in %s, PSNR %.1f dB", spec, steps, duration(monotonic() - begin), _psnr(model, faces)
    )
    return model


@torch.no_grad()
def _psnr(model: Autoencoder, faces: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of the middles of some faces ``uint8 [N, S, S, 3]``."""
    side = min(PATCH, faces.shape[1])
    corner = (faces.shape[1] - side) // 2
    real = _to_tensor(faces[:64, corner : corner + side, corner : corner + side])
    error = (model(real).clamp(-1, 1) - real).square().mean().item()
    return float(-10 * np.log10(max(error, 1e-12) / 4))


def _to_tensor(images: Tensor) -> Tensor:
    """Convert ``uint8 [N, H, W, 3]`` to ``float32 [N, 3, H, W]`` in [-1, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _gradients(images: Tensor) -> Tensor:
    return torch.cat(
        [(images[..., 1:, :] - images[..., :-1, :]).flatten(1), (images[..., 1:] - images[..., :-1]).flatten(1)], 1
    )


@torch.no_grad()
def restore(model: nn.Module, images: Tensor) -> Tensor:
    """Reconstruct images ``float32 [N, 3, H, W]`` RGB from 0 to 255 on their device; the result is alike.

    Structures that are coarser than 16 pixels are those of the original: the colours of a small autoencoder are wrong,
    and a detector would otherwise learn nothing but that. On a GPU the network computes in bfloat16, or in float16
    where the GPU does not have it.

    Args:
        model: Trained autoencoder on the device of the images.
        images: Images whose sides are multiples of the autoencoder's factor and of 16.
    """
    real = images.contiguous(memory_format=torch.channels_last) / 127.5 - 1.0
    if images.is_cuda:
        with autocast(images.device, "bf16" if has_bf16(images.device) else "fp16"):
            fake = model(real).float()
    else:
        fake = model(real)
    coarse = F.interpolate(F.avg_pool2d(real - fake, 16), size=real.shape[2:], mode="bicubic")
    restored: Tensor = ((fake + coarse + 1.0) * 127.5).round_().clamp_(0, 255)
    return restored.contiguous()


def reconstruct(model: nn.Module, images: NDArray[np.uint8], device: torch.device) -> NDArray[np.uint8]:
    """Reconstruct images ``uint8 [N, H, W, 3]`` RGB as :func:`restore` does; the result has the same shape.

    Args:
        model: Trained autoencoder, on ``device``.
        images: Images whose sides are multiples of the autoencoder's factor and of 16.
        device: Device on which to compute.
    """
    pixels = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2).float()
    return np.asarray(restore(model, pixels).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())

"""Pseudo-fakes for fully synthetic faces: real faces passed through small autoencoders trained on real faces.

Generators of faces, adversarial or diffusion, end in a decoder that up-samples features to pixels, and its traces
do not depend on what the picture shows. A reconstruction has those traces and the content of a real face, so a
detector cannot tell the two apart by anything else. Several decoders with different up-sampling keep it from
learning a single one; :data:`VALIDATION_DECODER` is never trained on, so its score tells how that transfers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.progress import track
from deepfake_registry.files import atomic_path
from deepfake_registry.manifest import Frozen

Upsampling = Literal["nearest", "bilinear", "transposed", "shuffle"]


class DecoderSpec(Frozen):
    """One autoencoder.

    Attributes:
        factor: Pixels per latent cell and side.
        latent: Channels of the latent.
        upsampling: How the decoder enlarges.
        width: Channels at full resolution; doubled at every halving, up to four times.
    """

    factor: Literal[4, 8, 16]
    latent: int
    upsampling: Upsampling
    width: int = 32


DECODERS: tuple[DecoderSpec, ...] = (
    DecoderSpec(factor=8, latent=8, upsampling="nearest"),
    DecoderSpec(factor=4, latent=4, upsampling="transposed"),
    DecoderSpec(factor=8, latent=16, upsampling="shuffle"),
    DecoderSpec(factor=8, latent=12, upsampling="bilinear"),
    DecoderSpec(factor=16, latent=32, upsampling="nearest"),
    DecoderSpec(factor=8, latent=16, upsampling="transposed"),
)
VALIDATION_DECODER = len(DECODERS) - 2
"""Index of the decoder that makes validation fakes only."""


class Autoencoder(nn.Module):
    """``float32 [N, 3, H, W]`` in [-1, 1] → the same, through a narrow latent; H and W multiples of the factor."""

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        levels = spec.factor.bit_length() - 1
        widths = [min(spec.width * 2**level, spec.width * 4) for level in range(levels + 1)]
        encoder: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
        for before, after in zip(widths, widths[1:], strict=False):
            encoder += [_Residual(before), nn.Conv2d(before, after, 4, stride=2, padding=1)]
        encoder += [_Residual(widths[-1]), nn.Conv2d(widths[-1], spec.latent, 1)]
        decoder: list[nn.Module] = [nn.Conv2d(spec.latent, widths[-1], 3, padding=1), _Residual(widths[-1])]
        for before, after in zip(widths[::-1], widths[-2::-1], strict=False):
            decoder += [*_upsample(before, after, spec.upsampling), _Residual(after)]
        decoder += [nn.SiLU(), nn.Conv2d(widths[0], 3, 3, padding=1)]
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)

    def forward(self, images: Tensor) -> Tensor:
        latent = torch.tanh(self.encoder(images))
        return torch.tanh(self.decoder(latent))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _upsample(before: int, after: int, kind: Upsampling) -> list[nn.Module]:
    if kind == "transposed":
        return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
    if kind == "shuffle":
        return [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2)]
    return [nn.Upsample(scale_factor=2, mode=kind), nn.Conv2d(before, after, 3, padding=1)]


def _critic() -> nn.Module:
    """Judges patches of about 40 pixels (PatchGAN, Isola et al. 2017), so that textures come out sharp."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, stride=2, padding=1),
        nn.GroupNorm(8, 128),
        nn.LeakyReLU(0.2),
        nn.Conv2d(128, 256, 4, stride=2, padding=1),
        nn.GroupNorm(8, 256),
        nn.LeakyReLU(0.2),
        nn.Conv2d(256, 1, 3, padding=1),
    )


def train_autoencoder(
    spec: DecoderSpec, pixels: NDArray[np.uint8], *, steps: int, batch_size: int, seed: int, device: torch.device
) -> Autoencoder:
    """Train one autoencoder on real faces ``uint8 [N, S, S, 3]`` with an L1, a gradient and an adversarial loss."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, critic = Autoencoder(spec).to(device), _critic().to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.99))
    critic_optimiser = torch.optim.AdamW(critic.parameters(), lr=3e-4, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=6e-4, total_steps=steps, pct_start=0.05)
    patch = min(192, pixels.shape[1])
    for step in track(range(steps), f"autoencoder, {spec.upsampling} ×{spec.factor}"):
        real = _patches(pixels, batch_size, patch, rng, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            fake = model(real)
            loss = F.l1_loss(fake, real) + F.l1_loss(_gradients(fake), _gradients(real))
            if step > steps // 4:
                loss = loss - 0.02 * critic(fake).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step >= steps // 4 - 50:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                hinge = F.relu(1 - critic(real)).mean() + F.relu(1 + critic(fake.detach())).mean()
            critic_optimiser.zero_grad(set_to_none=True)
            hinge.backward()
            critic_optimiser.step()
    return model.eval()


def _patches(
    pixels: NDArray[np.uint8], count: int, side: int, rng: np.random.Generator, device: torch.device
) -> Tensor:
    rows = rng.integers(len(pixels), size=count)
    y, x = rng.integers(pixels.shape[1] - side + 1, size=2)
    batch = torch.from_numpy(pixels[np.sort(rows), y : y + side, x : x + side]).to(device)
    batch = batch.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    return batch.flip(3) if rng.random() < 0.5 else batch


def _gradients(images: Tensor) -> Tensor:
    return torch.cat(
        [(images[..., 1:, :] - images[..., :-1, :]).flatten(1), (images[..., 1:] - images[..., :-1]).flatten(1)], 1
    )


@torch.inference_mode()
def reconstruct(model: Autoencoder, images: NDArray[np.uint8], device: torch.device) -> NDArray[np.uint8]:
    """``uint8 [N, H, W, 3]`` → the same, reconstructed."""
    batch = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        out = model(batch)
    out = ((out.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.asarray(out.permute(0, 2, 3, 1).cpu().numpy())


def load_reconstructions(
    pixels: NDArray[np.uint8],
    rows: Sequence[int] | NDArray[np.intp],
    train_rows: NDArray[np.intp],
    cache_dir: Path,
    *,
    steps: int,
    device: torch.device,
    seed: int = 0,
) -> list[NDArray[np.uint8]]:
    """Every face of ``rows`` through every decoder of :data:`DECODERS`, made on the first call.

    Args:
        pixels: Stored crops ``uint8 [N, S, S, 3]``.
        rows: Real faces to reconstruct.
        train_rows: Real faces to train the autoencoders on: training split only.
        cache_dir: Where the results are kept.
        steps: Training steps of each autoencoder.
        device: Where to train.
        seed: First of the seeds, one per decoder.

    Returns:
        One memory map ``uint8 [len(rows), S, S, 3]`` per decoder.
    """
    results = []
    reals = pixels[np.sort(train_rows)]
    for index, spec in enumerate(DECODERS):
        key = hashlib.sha256(f"{spec!r}{steps}{seed}{pixels.shape}".encode())
        key.update(np.asarray(rows).tobytes())
        key.update(np.asarray(train_rows).tobytes())
        path = cache_dir / f"reconstructed-{key.hexdigest()[:16]}.npy"
        if not path.exists():
            model = train_autoencoder(spec, reals, steps=steps, batch_size=32, seed=seed + index, device=device)
            with atomic_path(path) as temporary:
                shape = (len(rows), *pixels.shape[1:])
                out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
                for start in range(0, len(rows), 64):
                    out[start : start + 64] = reconstruct(model, pixels[rows[start : start + 64]], device)
                out.flush()
                del out
        results.append(np.load(path, mmap_mode="r"))
    return results

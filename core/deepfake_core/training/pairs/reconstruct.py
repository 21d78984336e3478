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

Upsampling = Literal["nearest", "transposed", "shuffle"]


PATCH = 64  # pixels; autoencoders are convolutional and train on parts of faces
PEAK_RATE = 3e-3


class DecoderSpec(Frozen):
    """One autoencoder.

    Attributes:
        factor: Pixels per latent cell and side.
        latent: Channels of the latent.
        upsampling: How the decoder enlarges.
        width: Channels at half resolution; twice as many below.
    """

    factor: Literal[4, 8]
    latent: int
    upsampling: Upsampling
    width: int = 32


DECODERS: tuple[DecoderSpec, ...] = (
    DecoderSpec(factor=4, latent=6, upsampling="nearest"),
    DecoderSpec(factor=8, latent=24, upsampling="transposed"),
    DecoderSpec(factor=4, latent=6, upsampling="shuffle"),
)
VALIDATION_DECODER = len(DECODERS) - 1
"""Index of the decoder that makes validation fakes only."""


class Autoencoder(nn.Module):
    """``float32 [N, 3, H, W]`` in [-1, 1] → the same, through a narrow latent; H and W multiples of the factor.

    Nearly all of the work is done at a quarter of the resolution, so that it trains on a CPU in minutes.
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
    """Train one autoencoder on real faces ``uint8 [N, S, S, 3]``: L1 on pixels, and on differences of neighbours."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Autoencoder(spec)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=PEAK_RATE, total_steps=steps)
    for _ in track(range(steps), f"autoencoder, {spec.upsampling} ×{spec.factor}"):
        real = _patches(pixels, batch_size, min(PATCH, pixels.shape[1]), rng, device)
        fake = model(real)
        loss = F.l1_loss(fake, real) + 2 * F.l1_loss(_gradients(fake), _gradients(real))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


def _patches(
    pixels: NDArray[np.uint8], count: int, side: int, rng: np.random.Generator, device: torch.device
) -> Tensor:
    rows = rng.integers(len(pixels), size=count)
    y, x = rng.integers(pixels.shape[1] - side + 1, size=2)
    batch = _to_tensor(pixels[np.sort(rows), y : y + side, x : x + side], device)
    return batch.flip(3) if rng.random() < 0.5 else batch


def _to_tensor(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """``uint8 [N, H, W, 3]`` → ``float32 [N, 3, H, W]`` in [-1, 1], channels last in memory."""
    return torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _gradients(images: Tensor) -> Tensor:
    return torch.cat(
        [(images[..., 1:, :] - images[..., :-1, :]).flatten(1), (images[..., 1:] - images[..., :-1]).flatten(1)], 1
    )


@torch.inference_mode()
def reconstruct(model: Autoencoder, images: NDArray[np.uint8], device: torch.device) -> NDArray[np.uint8]:
    """``uint8 [N, H, W, 3]`` → the same, reconstructed; what is coarser than 16 pixels is the original's.

    A small autoencoder's colours are off, and a detector would look no further than that.
    """
    real = _to_tensor(images, device)
    fake = model(real)
    coarse = F.interpolate(F.avg_pool2d(real - fake, 16), size=real.shape[2:], mode="bicubic")
    out = ((fake + coarse + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
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
            model = train_autoencoder(spec, reals, steps=steps, batch_size=16, seed=seed + index, device=device)
            with atomic_path(path) as temporary:
                shape = (len(rows), *pixels.shape[1:])
                out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
                for start in range(0, len(rows), 64):
                    out[start : start + 64] = reconstruct(model, pixels[rows[start : start + 64]], device)
                out.flush()
                del out
        results.append(np.load(path, mmap_mode="r"))
    return results

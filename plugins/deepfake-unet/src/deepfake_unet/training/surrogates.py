"""Surrogates: stand-ins for the systems that a protected image is meant to disturb.

The perturbation is trained against generators only: face swappers and an autoencoder. A face swapper has one encoder
and a decoder for each of two sets of faces, and a face of one set that the other set's decoder decodes is the swap. The
features of detectors are only measured: a perturbation that is trained to disturb detectors hides fakes from them. The
features are activations, read at the layers that the detector names for explanations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deepfake_core.progress import track
from deepfake_core.training.pairs.autoencoder import Autoencoder, DecoderSpec, train_autoencoder
from deepfake_registry.files import atomic_path
from deepfake_registry.manifest import Frozen

if TYPE_CHECKING:
    from deepfake_core import LoadedDetector

PEAK_RATE = 1e-3
"""Peak learning rate of face swappers."""
BATCH = 16
"""Faces of each of the two sets in one training step."""

Faces = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Two sets of real faces, each uint8 [N, S, S, 3] RGB."""


class SwapSpec(Frozen):
    """Architecture and seed of a face swapper.

    Attributes:
        size: Side of its images in pixels.
        width: Channels at half resolution; they double at each level below, up to 256.
        levels: Number of times that the resolution is halved.
        latent: Channels of the bottleneck, which is ``size / 2 ** levels`` cells wide.
        upsampling: Method of the decoders to double the resolution.
        seed: Seed for the weights, the order of the faces and their distortions.
    """

    size: int = Field(64, gt=0, multiple_of=16)
    width: int = Field(32, gt=0)
    levels: int = Field(4, gt=0, le=5)
    latent: int = Field(96, gt=0)
    upsampling: Literal["nearest", "transposed", "shuffle"] = "shuffle"
    seed: int = 0


TRAINING_SWAPPERS = (
    SwapSpec(seed=1),
    SwapSpec(width=24, levels=3, latent=24, upsampling="nearest", seed=2),
    SwapSpec(size=48, width=40, levels=3, latent=48, upsampling="transposed", seed=4),
)
"""Face swappers that the U-Net is trained against."""

TRAINING_DECODER = DecoderSpec(factor=8, latent=24, upsampling="transposed")
"""Autoencoder that the U-Net is trained against."""

HELD_OUT_DECODER = DecoderSpec(factor=4, latent=6, upsampling="shuffle")
"""Autoencoder that the U-Net is only measured on."""

HELD_OUT_SWAPPER = SwapSpec(size=80, width=28, levels=4, latent=64, upsampling="transposed", seed=3)
"""Face swapper that the U-Net is only measured on; size, width, bottleneck, decoder, seed and order of faces differ."""


class SwapAutoencoder(nn.Module):
    """A face swapper's network: images float32 [N, 3, S, S] in [0, 1] → the faces as one of two decoders decodes them.

    Args:
        spec: Architecture of the network.
    """

    def __init__(self, spec: SwapSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = [min(256, spec.width * 2**level) for level in range(spec.levels)]
        encoder: list[nn.Module] = []
        for before, after in zip([3, *widths], widths, strict=False):
            encoder += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.LeakyReLU(0.1)]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(widths[-1], spec.latent, 1))
        self.decoders = nn.ModuleList(_decoder(spec, widths) for _ in range(2))

    def forward(self, images: Tensor, decoder: int) -> Tensor:
        """Return images float32 [N, 3, S, S] in [0, 1] as decoder 0 or 1 decodes them, of the same shape."""
        decoded: Tensor = torch.sigmoid(self.decoders[decoder](self.encoder(images * 2 - 1)))
        return decoded


def _decoder(spec: SwapSpec, widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(spec.latent, widths[-1], 3, padding=1), nn.LeakyReLU(0.1)]
    for before, after in zip(widths[::-1], [*widths[-2::-1], max(16, spec.width // 2)], strict=True):
        if spec.upsampling == "transposed":
            layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
        elif spec.upsampling == "shuffle":
            layers += [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2)]
        else:
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
        layers.append(nn.LeakyReLU(0.1))
    return nn.Sequential(*layers, nn.Conv2d(max(16, spec.width // 2), 3, 3, padding=1))


class Surrogate(nn.Module):
    """A frozen network; the change of its output measures the effect of a perturbation.

    Attributes:
        name: Name in reports.
    """

    name: str

    def answer(self, images: Tensor) -> Sequence[Tensor]:
        """Return the outputs, each float32 [N, …], for images float32 [N, 3, H, W] in [0, 1] of any size."""
        raise NotImplementedError

    def change(self, clean: Tensor, protected: Tensor, *, structure: bool = False) -> Tensor:
        """Return the relative squared change of the outputs, float32 [N], the mean over all outputs.

        For each output, it is the squared distance between the outputs divided by the squared distance of the clean
        output from its own mean.

        Args:
            clean: Images float32 [N, 3, H, W] in [0, 1].
            protected: The same images with a perturbation.
            structure: Whether to compare only what is left of the outputs, each [N, C, h, w], when colours and light
                are taken away: their local mean over an eighth of the side.
        """
        with torch.no_grad():
            before = self.answer(clean)
        parts = []
        for old, new in zip(before, self.answer(protected), strict=True):
            old, new = old.float(), new.float()
            if structure:
                old, new = _structure(old), _structure(new)
            old, new = old.flatten(1), new.flatten(1)
            spread = (old - old.mean(1, keepdim=True)).square().mean(1)
            parts.append((new - old).square().mean(1) / spread.clamp_min(1e-6))
        return torch.stack(parts).mean(0)


def _structure(values: Tensor) -> Tensor:
    window = max(3, values.shape[2] // 8 | 1)
    return values - F.avg_pool2d(values, window, stride=1, padding=window // 2, count_include_pad=False)


class SwapSurrogate(Surrogate):
    """A face swapper, whose outputs are the images of both decoders.

    Args:
        name: Name in reports.
        network: Trained network.
    """

    def __init__(self, name: str, network: SwapAutoencoder) -> None:
        super().__init__()
        self.name, self.network = name, _frozen(network)

    def shown(self, images: Tensor, decoder: int) -> Tensor:
        """Return images float32 [N, 3, H, W] in [0, 1] as decoder 0 or 1 decodes them, float32 [N, 3, S, S]."""
        swapped: Tensor = self.network(_sized(images, self.network.spec.size), decoder)
        return swapped

    def answer(self, images: Tensor) -> Sequence[Tensor]:
        return [self.shown(images, decoder) for decoder in range(2)]


class ReconstructionSurrogate(Surrogate):
    """An autoencoder, whose output is the reconstruction of the image.

    Args:
        name: Name in reports.
        network: Trained autoencoder.
    """

    SIDE = 64
    """Side in pixels of the images that it reconstructs."""

    def __init__(self, name: str, network: Autoencoder) -> None:
        super().__init__()
        self.name, self.network = name, _frozen(network)

    def answer(self, images: Tensor) -> Sequence[Tensor]:
        return [(self.network(_sized(images, self.SIDE) * 2 - 1) + 1) / 2]


class FeatureSurrogate(Surrogate):
    """The network of a detector, whose outputs are the activations of the layers that it names for explanations.

    Args:
        loaded: A trained detector in torch.
    """

    def __init__(self, loaded: LoadedDetector) -> None:
        super().__init__()
        self.name = loaded.manifest.name
        spec = loaded.manifest.preprocess
        self.size = max(spec.size)
        self.register_buffer("mean", torch.tensor(spec.normalize.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.normalize.std).view(1, 3, 1, 1))
        self.network = _frozen(loaded.network)
        self.layers = loaded.detector.explain_layers(loaded.network)
        # A network of patches takes one size only; a convolutional one also takes smaller images, which cost less.
        self.smallest = self.size if any(layer.reshape for layer in self.layers) else 0

    def answer(self, images: Tensor) -> Sequence[Tensor]:
        found: list[Tensor] = []
        hooks = [
            layer.module.register_forward_hook(
                lambda _module, _inputs, output, reshape=layer.reshape: found.append(
                    reshape(output) if reshape else output
                )
            )
            for layer in self.layers
        ]
        try:
            pixels = _sized(images, max(self.smallest, min(self.size, images.shape[2])))
            self.network((pixels - self.get_buffer("mean")) / self.get_buffer("std"))
        finally:
            for hook in hooks:
                hook.remove()
        return found


Network = TypeVar("Network", bound=nn.Module)


def _frozen(network: Network) -> Network:
    frozen = network.eval().requires_grad_(False)
    return frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _sized(images: Tensor, side: int) -> Tensor:
    if images.shape[2:] == (side, side):
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def load_swapper(
    spec: SwapSpec, faces: Faces, cache_dir: Path, *, steps: int, device: torch.device, name: str
) -> SwapSurrogate:
    """Return a trained face swapper, which is trained on the first call and kept in ``cache_dir``.

    Args:
        spec: Architecture and seed.
        faces: Two sets of real faces.
        cache_dir: Folder for its weights; a hash of everything that decides them names the file.
        steps: Number of training steps.
        device: Device on which it is trained and used.
        name: Name in reports.
    """
    path = cache_dir / f"swapper-{_key(spec, steps, faces)}.safetensors"
    network = _kept(SwapAutoencoder(spec), path, lambda: train_swapper(spec, faces, steps=steps, device=device))
    return SwapSurrogate(name, network.to(device))


def load_autoencoder(
    spec: DecoderSpec, faces: Faces, cache_dir: Path, *, steps: int, device: torch.device, name: str
) -> ReconstructionSurrogate:
    """Return a trained autoencoder of faces; see :func:`load_swapper` for the arguments."""
    path = cache_dir / f"autoencoder-{_key(spec, steps, faces)}.safetensors"

    def trained() -> Autoencoder:
        with torch.random.fork_rng(devices=[]):
            pixels = np.concatenate(faces)
            return train_autoencoder(spec, pixels, steps=steps, batch_size=BATCH, seed=spec.factor, device=device)

    return ReconstructionSurrogate(name, _kept(Autoencoder(spec), path, trained).to(device))


def _key(spec: SwapSpec | DecoderSpec, steps: int, faces: Faces) -> str:
    key = hashlib.sha256(f"{spec!r} {steps}".encode())
    for one in faces:
        key.update(repr(one.shape).encode())
        key.update(np.ascontiguousarray(one).tobytes())
    return key.hexdigest()[:16]


def _kept(network: Network, path: Path, train: Callable[[], Network]) -> Network:
    """Return the network with the weights in a file; where the file is not there, train it and write the file."""
    if path.exists():
        network.load_state_dict(load_file(path))
        return network
    network = train()
    with atomic_path(path) as temporary:
        save_file({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, temporary)
    return network


def train_swapper(spec: SwapSpec, faces: Faces, *, steps: int, device: torch.device) -> SwapAutoencoder:
    """Train a face swapper: each decoder learns to undo distortions of the faces of its own set.

    Args:
        spec: Architecture and seed.
        faces: Two sets of real faces.
        steps: Number of training steps.
        device: Device on which it is trained.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        rng = np.random.default_rng(spec.seed)
        network = SwapAutoencoder(spec).to(device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, betas=(0.5, 0.99), weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=PEAK_RATE, total_steps=steps)
        for _ in track(range(steps), f"face swapper, {spec.size} px, {spec.upsampling}"):
            loss = torch.zeros((), device=device)
            for decoder, one in enumerate(faces):
                rows = np.sort(rng.integers(len(one), size=BATCH))
                pixels = torch.from_numpy(one[rows]).to(device).permute(0, 3, 1, 2).float() / 255
                target = _sized(pixels.flip(3) if rng.random() < 0.5 else pixels, spec.size)
                loss = loss + F.l1_loss(network(distorted(target), decoder), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return network.eval()


def distorted(images: Tensor) -> Tensor:
    """Zoom, shift and warp images float32 [N, 3, S, S] at random, so that an encoder learns faces and not pixels."""
    count, device = len(images), images.device
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 + 0.1 * (torch.rand(count, device=device) - 0.5)
    theta[:, :, 2] = 0.1 * (torch.rand(count, 2, device=device) - 0.5)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    warp = F.interpolate(0.03 * torch.randn(count, 2, 5, 5, device=device), images.shape[2:], mode="bicubic")
    return F.grid_sample(images, grid + warp.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)

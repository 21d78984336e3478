"""A tiny seeded detector with an evidence map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_registry.manifest import Calibration, ModelManifest, Normalize, PreprocessSpec, Resize, manifest_of

SIZE = 32


class TinyNet(nn.Module):
    """Convolutions with batch norm, a depthwise layer, one logit and an 8×8 map."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6())
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, groups=width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, 2, 1),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
        )
        self.evidence = nn.Conv2d(width, 1, 1)
        self.logit = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(self.stem(x))
        return self.logit(features.mean((2, 3))).squeeze(1), self.evidence(features).squeeze(1)


class Tiny(Detector):
    preprocess = PreprocessSpec(
        resize=Resize(height=SIZE, width=SIZE), normalize=Normalize(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    )
    evidence_size = (SIZE // 4, SIZE // 4)

    def build(self) -> nn.Module:
        return TinyNet()


@dataclass
class Case:
    detector: Tiny
    network: nn.Module
    manifest: ModelManifest
    images: NDArray[np.uint8]
    fake: NDArray[np.int64]


def images_of_two_kinds(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [count, 32, 32, 3]: smooth pictures are real (0), noisy ones fake (1)."""
    rng = np.random.default_rng(seed)
    fake = np.arange(count) % 2
    smooth = rng.integers(40, 216, (count, 4, 4, 3)).repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)
    noise = rng.normal(0, 70, (count, SIZE, SIZE, 3)) * fake[:, None, None, None]
    return np.clip(smooth + noise, 0, 255).astype(np.uint8), fake


def fit_logit(network: TinyNet, images: NDArray[np.uint8], fake: NDArray[np.int64]) -> None:
    """Point the last layer from the mean feature of real pictures to that of fake ones, 2 logits apart."""
    model = WithPreprocess(network, Tiny.preprocess)
    with torch.no_grad():
        features = network.body(network.stem(model.normalize(torch.from_numpy(images)))).mean((2, 3))
        real, false = features[fake == 0].mean(0), features[fake == 1].mean(0)
        weight = 2 * (false - real) / (false - real).square().sum()
        network.logit.weight.copy_(weight[None])
        network.logit.bias.fill_(-float(weight @ (false + real) / 2))


@pytest.fixture(scope="session")
def case() -> Case:
    torch.manual_seed(7)
    network = TinyNet()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    images, fake = images_of_two_kinds(24)
    fit_logit(network.eval(), images, fake)
    manifest = manifest_of(
        name="tiny",
        architecture="tiny",
        version="1.2.3",
        preprocess=Tiny.preprocess,
        weights="untrained",
        evidence=Tiny.evidence_size,
        calibration=Calibration(temperature=2.0, threshold=0.4, unsure_low=0.3, unsure_high=0.45, fitted_on="made up"),
    )
    return Case(Tiny(), network, manifest, images, fake)

"""The U-Net (Ronneberger et al. 2015, arXiv 1505.04597): one trunk with a head for protection and one for detection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 4
"""Side of a cell of the evidence map, in pixels of the input."""


class UNet(nn.Module):
    """The network: features at full resolution, from them a bounded perturbation and a map of the blended region.

    The trunk with the head of the perturbation is the documented protector and has 4,787,975 parameters at the default
    widths. The head of the map adds 33, and the logit that is pooled from the map adds 2.

    Args:
        widths: Channels at full, half, quarter … resolution. The input's sides must be multiples of
            ``2 ** (len(widths) - 1)``.
        epsilon: Largest change of a pixel's channel, in units of the pixel range [0, 1].
    """

    def __init__(self, widths: Sequence[int], epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.down = nn.ModuleList(
            _double_conv(before, after) for before, after in zip((3, *widths), widths, strict=False)
        )
        self.enlarge = nn.ModuleList()
        self.up = nn.ModuleList()
        for deep, shallow in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.enlarge.append(nn.ConvTranspose2d(deep, deep // 2, 2, stride=2))
            self.up.append(_double_conv(shallow + deep // 2, shallow))
        self.perturbation = nn.Conv2d(widths[0], 3, 1)
        self.mask = nn.Conv2d(widths[0], 1, 1)
        self.scale = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def features(self, images: Tensor) -> Tensor:
        """Return the features float32 [N, C, H, W] of normalised images float32 [N, 3, H, W]."""
        x = images
        skipped = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skipped.append(x)
        skipped.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x = block(torch.cat([skipped.pop(), enlarge(x)], dim=1))
        return x

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, evidence and perturbation for normalised images float32 [N, 3, H, W].

        Returns:
            Logits float32 [N]; evidence logits [N, H/4, W/4]; the perturbation [N, H, W, 3] within ±epsilon, to be
            added to pixels in [0, 1].
        """
        features = self.features(images)
        evidence = F.avg_pool2d(self.mask(features), STRIDE).squeeze(1)
        # A soft maximum over the cells, log(mean(exp)): a small blended region decides, and every cell learns.
        cells = evidence.flatten(1)
        peak = cells.amax(1, keepdim=True)
        logit = self.scale * ((cells - peak).exp().mean(1).log() + peak.squeeze(1)) + self.bias
        perturbation = self.epsilon * torch.tanh(self.perturbation(features))
        return logit, evidence, perturbation.permute(0, 2, 3, 1)


def _double_conv(before: int, after: int) -> nn.Sequential:
    # The convolutions have no biases, because the normalisation that follows has its own.
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )

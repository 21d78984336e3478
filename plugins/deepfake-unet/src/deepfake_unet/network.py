"""The U-Net (Ronneberger et al. 2015, arXiv 1505.04597): one trunk with a head for protection and one for detection.

The perturbation is smooth by construction, because it is averaged over its neighbourhood, and follows the texture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 4
"""Side of a cell of the evidence map, in pixels of the input."""

_FLAT, _TEXTURE = 0.25, 0.1
"""Share of the bound on flat regions, and the local deviation of the normalised image at which half of the rest is
added."""


class UNet(nn.Module):
    """The network: features at full resolution, from them a bounded perturbation and a map of the blended region.

    The trunk with the head of the perturbation is the documented protector and has 4,787,975 parameters at the default
    widths. The head of the map adds 33, and the logit that is pooled from the map adds 2.

    Args:
        widths: Channels at full, half, quarter … resolution. The input's sides must be multiples of
            ``2 ** (len(widths) - 1)`` times the reduction.
        epsilon: Largest change of a pixel's channel, in units of the pixel range [0, 1].
        reduction: Factor by which the input is made smaller for the trunk, and the perturbation larger again: 1, 2
            or 4.
    """

    def __init__(self, widths: Sequence[int], epsilon: float, reduction: int = 1) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.reduction = reduction
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
        """Return features float32 [N, C, H/r, W/r] of normalised images float32 [N, 3, H, W]; r is the reduction."""
        x = F.avg_pool2d(images, self.reduction) if self.reduction > 1 else images
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
        evidence = F.avg_pool2d(self.mask(features), STRIDE // self.reduction).squeeze(1)
        # A soft maximum over the cells, log(mean(exp)): a small blended region decides, and every cell learns.
        cells = evidence.flatten(1)
        peak = cells.amax(1, keepdim=True)
        logit = self.scale * ((cells - peak).exp().mean(1).log() + peak.squeeze(1)) + self.bias
        perturbation = (
            self.epsilon * texture(images, self.reduction) * smoothed(torch.tanh(self.perturbation(features)))
        )
        if self.reduction > 1:
            perturbation = F.interpolate(perturbation, scale_factor=float(self.reduction), mode="bilinear")
        return logit, evidence, perturbation.permute(0, 2, 3, 1)


def smoothed(values: Tensor) -> Tensor:
    """Average values float32 [N, C, H, W] over 3 × 3 cells twice, which leaves no fine pattern; their bound holds."""
    for _ in range(2):
        values = F.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)
    return values


def texture(images: Tensor, reduction: int) -> Tensor:
    """Return the share of the bound that texture hides: 1 on rich texture, and less where an image is flat.

    Args:
        images: Normalised images float32 [N, 3, H, W] in [-1, 1].
        reduction: Side r of a cell in pixels.

    Returns:
        float32 [N, 1, H/r, W/r].
    """
    grey = images.mean(1, keepdim=True)
    mean, square = (
        F.avg_pool2d(F.avg_pool2d(values, reduction), 5, stride=1, padding=2, count_include_pad=False)
        for values in (grey, grey.square())
    )
    deviation = (square - mean.square()).clamp_min(1e-8).sqrt()
    return _FLAT + (1 - _FLAT) * deviation / (deviation + _TEXTURE)


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

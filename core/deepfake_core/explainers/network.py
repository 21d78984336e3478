"""The network of a detector, prepared for explainers that look inside of it (imports torch)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.contract.detector import WithPreprocess
from deepfake_core.explainers.base import HasNetwork


class OneInput(nn.Module):
    """A network for one picture or one clip: the frames ``float32 [T, 3, H, W]`` are the batch → logit ``[1]``.

    A picture is a batch of one. Outputs beside the logit are dropped.

    Args:
        network: Network of the detector.
        clip: Whether the frames are one clip.
    """

    def __init__(self, network: nn.Module, clip: bool) -> None:
        super().__init__()
        self.network = network
        self.clip = clip

    def forward(self, frames: Tensor) -> Tensor:
        output = self.network(frames[None] if self.clip else frames)
        logit: Tensor = output[0] if isinstance(output, tuple) else output
        return logit


def one_input(detector: HasNetwork, crop: NDArray[np.uint8]) -> tuple[OneInput, Tensor]:
    """Return a detector's network and its input ``float32 [T, 3, H, W]``, normalised; T is 1 for a picture.

    Args:
        detector: Detector whose network is used as it is, on its device.
        crop: ``uint8 [H, W, 3]`` RGB, or a clip ``[T, H, W, 3]``.

    Raises:
        DeepfakeError: Only an exported file is at hand, from which no network can be built.
    """
    network = detector.network
    device = next(network.parameters()).device
    clip = crop.ndim == 4
    frames = torch.from_numpy(np.array(crop if clip else crop[None])).to(device)
    images = WithPreprocess(network, detector.detector.preprocess).to(device).normalize(frames)
    return OneInput(network, clip).eval(), images

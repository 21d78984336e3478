"""The network of a detector, ready to be looked into (torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepfake_core.contract.detector import WithPreprocess

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


class OneInput(nn.Module):
    """The network, for one picture or clip whose frames are a batch: ``float32 [T, 3, H, W]`` → logit ``[1]``.

    A picture is a batch of one. What the network returns beside the logit is left out.
    """

    def __init__(self, network: nn.Module, clip: bool) -> None:
        super().__init__()
        self.network = network
        self.clip = clip

    def forward(self, frames: Tensor) -> Tensor:
        output = self.network(frames[None] if self.clip else frames)
        logit: Tensor = output[0] if isinstance(output, tuple) else output
        return logit


def one_input(detector: LoadedDetector, crop: NDArray[np.uint8]) -> tuple[OneInput, Tensor]:
    """A detector's network and what goes into it, ``float32 [T, 3, H, W]`` normalised; T is 1 for a picture.

    Args:
        detector: Its network is used as it is, on its device.
        crop: ``uint8 [H, W, 3]`` RGB, or a clip ``[T, H, W, 3]``.

    Raises:
        DeepfakeError: There is no network at hand, but only an exported file.
    """
    network = detector.network
    device = next(network.parameters()).device
    clip = crop.ndim == 4
    frames = torch.from_numpy(np.array(crop if clip else crop[None])).to(device)
    images = WithPreprocess(network, detector.detector.preprocess).to(device).normalize(frames)
    return OneInput(network, clip).eval(), images

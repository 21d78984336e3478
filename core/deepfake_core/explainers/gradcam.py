"""GradCAM (Selvaraju et al. 2017, arXiv 1610.02391) by the ``grad-cam`` library, through the network in torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.explainers import Explainer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from deepfake_core.loaded import LoadedDetector

EXTRA = "deepfake-core[explain]"


class GradCam(Explainer):
    """Where activations of the detector's first explain layer argue for the target class (001-21).

    The strongest place of every picture is 1: the map says where, and P(fake) says how much.
    """

    targets = ("fake", "real")

    def explain(self, detector: LoadedDetector, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        layers = detector.detector.explain_layers(detector.network)
        if not layers:
            raise DeepfakeError(
                f"detector {detector.manifest.name!r} names no layers for GradCAM; choose another explainer, or let "
                "its explain_layers return some"
            )
        grad_cam = _library()
        import torch

        from deepfake_core.detector import WithPreprocess

        network = detector.network
        device = next(network.parameters()).device
        model = WithPreprocess(network, detector.detector.preprocess).to(device)
        sign = 1.0 if self.target == "fake" else -1.0
        with torch.enable_grad():
            images = model.normalize(torch.from_numpy(np.ascontiguousarray(crop[None])).to(device))
            images.requires_grad_()  # so that there is a gradient even where every parameter is frozen
            with grad_cam.GradCAM(_single_logit(network), [layers[0].module], layers[0].reshape) as cam:
                heat = cam(images, [lambda logit: sign * logit])[0]
        network.zero_grad(set_to_none=True)
        return np.clip(np.asarray(heat, dtype=np.float32), 0.0, 1.0)


def _single_logit(network: nn.Module) -> nn.Module:
    """The network without its evidence: the library takes every output for the scores of one picture."""
    from torch import nn

    class Logit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            output = self.network(images)
            logit: Tensor = output[0] if isinstance(output, tuple) else output
            return logit

    return Logit()


def _library() -> Any:
    from deepfake_core._torchvision import ensure_importable

    ensure_importable()
    try:
        return importlib.import_module("pytorch_grad_cam")
    except ModuleNotFoundError:
        raise MissingExtra("GradCAM", EXTRA) from None

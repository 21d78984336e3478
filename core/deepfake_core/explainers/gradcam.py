"""GradCAM and related methods by the ``grad-cam`` library, on the network in torch.

Each method uses the detector's first explain layer. The strongest place of every picture or frame is 1: the map says
where, and P(fake) says how much.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.explainers.base import RELATIVE, Explainable, Explainer, with_network

if TYPE_CHECKING:
    from torch import Tensor

    from deepfake_core.contract.detector import ExplainLayer

EXTRA = "deepfake-core[explain]"


class GradCam(Explainer):
    """Places whose activations argue for the target class: Selvaraju et al. 2017, arXiv 1610.02391.

    Attributes:
        method: Name of the method in the library.
    """

    targets: ClassVar[tuple[str, ...]] = ("fake", "real")
    caption: ClassVar[str] = "what speaks for a {target} face"
    meaning: ClassVar[str] = f"Colour: places whose features speak for a {{target}} face; {RELATIVE}."
    found: ClassVar[str] = "What speaks for a {target} face is strongest {place}."
    method: ClassVar[str] = "GradCAM"

    def explain(self, detector: Explainable, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        model = with_network(detector)
        layers = model.detector.explain_layers(model.network)
        if not layers:
            raise DeepfakeError(
                f"detector {detector.manifest.name!r} names no layers for GradCAM; choose another explainer, or let "
                "its explain_layers return some"
            )
        method = getattr(_library(), self.method)
        import torch

        from deepfake_core.explainers.network import one_input

        network, images = one_input(model, crop)
        sign = 1.0 if self.target == "fake" else -1.0
        with torch.enable_grad():
            images.requires_grad_()  # so that there is a gradient even where every parameter is frozen
            with method(network, [layers[0].module], self.reshape(layers[0])) as cam:
                heat = cam(images, [lambda logit: sign * logit])
        network.zero_grad(set_to_none=True)
        maps = np.maximum(np.nan_to_num(np.asarray(heat, dtype=np.float32)), 0.0)
        # The library's own scaling falls short of 1 where gradients are tiny, as those of long clips are.
        strongest = maps.max(axis=(1, 2), keepdims=True)
        maps = np.divide(maps, strongest, out=np.zeros_like(maps), where=strongest > 0)
        scaled: NDArray[np.float32] = maps if crop.ndim == 4 else maps[0]
        return scaled

    def reshape(self, layer: ExplainLayer) -> Callable[[Tensor], Tensor] | None:
        """Return the function that brings activations to ``[N, C, h, w]``; ``None`` where they have this shape."""
        return layer.reshape


class GradCamPlusPlus(GradCam):
    """Higher derivatives as weights of the places of a channel: Chattopadhay et al. 2018, arXiv 1710.11063."""

    method = "GradCAMPlusPlus"


class HiResCam(GradCam):
    """Activation times gradient at each place, without averaging: Draelos & Carin 2020, arXiv 2011.08891."""

    method = "HiResCAM"


class LayerCam(GradCam):
    """Activation times positive gradient at each place: Jiang et al. 2021, doi 10.1109/TIP.2021.3089943."""

    method = "LayerCAM"


class XGradCam(GradCam):
    """Gradients weighted by the share of the activations: Fu et al. 2020, arXiv 2008.02312."""

    method = "XGradCAM"


class EigenCam(GradCam):
    """First principal component of the activations, for no class: Muhammad & Yeasin 2020, arXiv 2008.00299."""

    targets = ()
    caption = "where its activations vary most"
    meaning = f"Colour: places where the network's activations vary most, whatever the class; {RELATIVE}."
    found = "The activations vary most {place}."
    method = "EigenCAM"
    largest: ClassVar[int] = 32

    def reshape(self, layer: ExplainLayer) -> Callable[[Tensor], Tensor]:
        """Pool the activations to at most 32 × 32 places: the library needs memory for the square of their number."""
        from torch.nn.functional import adaptive_avg_pool2d

        def pooled(activations: Tensor) -> Tensor:
            cells = activations if layer.reshape is None else layer.reshape(activations)
            height, width = cells.shape[2:]
            return adaptive_avg_pool2d(cells, (min(height, self.largest), min(width, self.largest)))

        return pooled


def _library() -> Any:
    from deepfake_core.runtimes.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    try:
        return importlib.import_module("pytorch_grad_cam")
    except ModuleNotFoundError:
        raise MissingExtra("GradCAM", EXTRA) from None

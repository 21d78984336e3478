"""Checks and preparations that all exporters share: the request, the labelled images and the network to trace."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepfake_core.contract.detector import Detector, WithPreprocess
from deepfake_core.errors import DeepfakeError
from deepfake_core.runtimes.torch import check_outputs
from deepfake_exports.parity import LabelledImages
from deepfake_exports.plugin import EXPORTERS
from deepfake_registry.manifest import ModelManifest

Precision = Literal["fp32", "fp16-storage", "bf16", "int8-weights", "int8"]
OFFERED = {spec.name: spec.precisions for spec in EXPORTERS}
"""Format → the precisions that it can be written in."""


def check_request(
    detector: Detector,
    manifest: ModelManifest,
    precision: str,
    offered: Sequence[str],
    images: NDArray[np.uint8] | None,
) -> None:
    """Refuse a request that would fail later.

    Args:
        detector: Detector that built the network.
        manifest: Manifest that the file will hold.
        precision: Precision that was asked for.
        offered: Precisions that the format offers.
        images: Calibration images ``uint8 [N, H, W, 3]`` RGB (clips: ``uint8 [N, T, H, W, 3]``), where there are any.

    Raises:
        DeepfakeError: The precision is not offered, the manifest states other preprocessing than the detector, or
            ``images`` are not inputs of the network.
    """
    if precision not in offered:
        raise DeepfakeError(f"this format has no precision {precision!r}; choose one of {', '.join(offered)}")
    if detector.preprocess != manifest.preprocess:
        raise DeepfakeError(
            f"the manifest of {manifest.name!r} states other preprocessing than its detector; "
            "make it from detector.preprocess"
        )
    shape = manifest.preprocess.input_shape
    if images is not None and (images.dtype != np.uint8 or images.shape[1:] != shape or len(images) == 0):
        wanted = ", ".join(str(length) for length in shape)
        raise DeepfakeError(f"calibration images must be uint8 [N, {wanted}], got {images.dtype} {list(images.shape)}")


def labelled(
    images: NDArray[np.uint8] | None, labels: NDArray[np.int64] | None, logits: NDArray[np.float32] | None = None
) -> LabelledImages:
    """Join images with their labels and, where they are known, the network's logits.

    Args:
        images: Inputs ``uint8 [N, H, W, 3]`` RGB (clips: ``uint8 [N, T, H, W, 3]``).
        labels: Labels ``int64 [N]`` in {0, 1}, where 1 is fake.
        logits: The network's logits ``float32 [N]``.

    Raises:
        DeepfakeError: Images or labels are missing, their numbers differ, or one of the two classes is missing.
    """
    if images is None or labels is None:
        raise DeepfakeError("int8 is checked on labelled pictures: pass calibration_images and labels")
    if len(images) != len(labels):
        raise DeepfakeError(f"{len(images)} calibration images but {len(labels)} labels")
    if set(np.unique(labels)) != {0, 1}:
        raise DeepfakeError(f"labels must hold both real (0) and fake (1), got {np.unique(labels).tolist()}")
    if logits is not None and logits.shape != labels.shape:
        raise DeepfakeError(f"{len(labels)} labels but logits of shape {list(logits.shape)}")
    return LabelledImages(images, np.asarray(labels, np.int64), logits)


def graph_of(network: nn.Module, manifest: ModelManifest) -> nn.Module:
    """Return a frozen float32 copy of preprocessing and ``network`` on the CPU, in evaluation mode.

    Raises:
        PluginLoadError: The network gives other outputs than its manifest states.
    """
    check_outputs(network, manifest)
    model = WithPreprocess(copy.deepcopy(network), manifest.preprocess).cpu().float().eval()
    return cast(nn.Module, model.requires_grad_(False))


def example_of(manifest: ModelManifest) -> torch.Tensor:
    """Return two black inputs, ``uint8 [2, H, W, 3]`` or ``uint8 [2, T, H, W, 3]``.

    A batch of one input would be traced as a constant.
    """
    return torch.zeros(2, *manifest.preprocess.input_shape, dtype=torch.uint8)

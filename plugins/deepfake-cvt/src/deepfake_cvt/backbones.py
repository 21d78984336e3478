"""Backbones of :class:`~deepfake_cvt.detector.Cvt`: CvT of the Transformers library, and the networks of timm."""

from __future__ import annotations

import difflib
import functools
import importlib
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepfake_core import (
    DeepfakeError,
    ExplainLayer,
    MissingExtra,
    WeightsUnavailable,
    ensure_torchvision,
    find_repository,
)

Statistics: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation per RGB channel, in units of 255."""

CVT: Mapping[str, Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        # Wu et al. 2021 (arXiv 2103.15808), table 2
        "cvt-13": {"embed_dim": (64, 192, 384), "num_heads": (1, 3, 6), "depth": (1, 2, 10)},
        "cvt-21": {"embed_dim": (64, 192, 384), "num_heads": (1, 3, 6), "depth": (1, 4, 16)},
        "cvt-test": {"embed_dim": (8, 16, 32), "num_heads": (1, 2, 2), "depth": (1, 2, 3)},
    }
)
"""Sizes of the three stages of each CvT."""

IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet."""

_ONLINE = "use --download (download=True)"
_OFFLINE = (
    "for CvT, name a local folder: --set config.pretrained_from=FOLDER",
    "start from random weights: --set pretrained=false",
)


def statistics(name: str) -> Statistics:
    """Return the mean and standard deviation per RGB channel, in units of 255, of a backbone's normalisation.

    Args:
        name: Name of the backbone.

    Raises:
        DeepfakeError: There is no such backbone.
        MissingExtra: The backbone is not a CvT, and timm is not installed.
    """
    if name in CVT:
        return IMAGENET
    card = _timm_card(name)
    return tuple(card.mean), tuple(card.std)


def build(name: str, image_size: int) -> nn.Module:
    """Build a backbone with a head of two logits, randomly initialised.

    Args:
        name: Name of the backbone.
        image_size: Side of the input in pixels.

    Raises:
        DeepfakeError: There is no such backbone.
        MissingExtra: The library that the backbone is from is not installed.
    """
    network: nn.Module
    if name in CVT:
        transformers = _transformers()
        network = transformers.CvtForImageClassification(transformers.CvtConfig(num_labels=2, **CVT[name]))
        for stage in _stages(network):
            for layer in stage.layers:
                layer.attention.attention.__class__ = _fused_attention()
    else:
        network = _timm().create_model(name, num_classes=2, **_timm_size(name, image_size))
    return network


def head(network: nn.Module) -> nn.Module:
    """Return the layer of a backbone that computes the two logits."""
    named: Any = network
    found: nn.Module = named.classifier if _is_cvt(network) else named.get_classifier()
    return found


def blocks(network: nn.Module) -> tuple[nn.Module, ...]:
    """Return the blocks of a backbone in their order; none where a network of timm has no ``blocks``."""
    if _is_cvt(network):
        return tuple(layer for stage in _stages(network) for layer in stage.layers)
    found = getattr(network, "blocks", ())
    return tuple(found) if isinstance(found, nn.Sequential | nn.ModuleList) else ()


def explain_layers(network: nn.Module) -> tuple[ExplainLayer, ...]:
    """Return the layers of a backbone for gradient-based explainers.

    Only the class token of CvT's last layer is read, so that the gradient at the *output* of that layer is zero at
    every place of the image. Its input still matters through attention, so that explainers read the input. The same
    holds for timm's vision transformers.
    """
    if _is_cvt(network):
        return (ExplainLayer(_stages(network)[-1].layers[-1].layernorm_before, _cells),)
    layers: Any = blocks(network)
    if layers and hasattr(network, "patch_embed") and hasattr(layers[-1], "norm1"):
        return (ExplainLayer(layers[-1].norm1, _cells),)
    if features := getattr(network, "feature_info", None):
        channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        layer = network.get_submodule(features[-1]["module"])
        return (ExplainLayer(layer, (lambda cells: cells.permute(0, 3, 1, 2)) if channels_last else None),)
    return ()


def attention_layers(network: nn.Module) -> tuple[nn.Module, ...]:
    """Return the self-attention of timm's vision transformers; none for CvT, which has fewer keys than tokens."""
    found = () if _is_cvt(network) else tuple(getattr(block, "attn", None) for block in blocks(network))
    return tuple(layer for layer in found if isinstance(layer, nn.Module) and hasattr(layer, "qkv"))


def load_public(name: str, network: nn.Module, source: str, image_size: int, *, download: bool = False) -> None:
    """Load public weights into everything but the head.

    Args:
        name: Name of the backbone.
        network: Network that :func:`build` made; it is changed in place.
        source: Hugging Face repository or local folder of a CvT; empty for the backbone's own.
        image_size: Side of the input in pixels.
        download: Whether to download what is not on disk.

    Raises:
        WeightsUnavailable: The weights are not on disk, and may not or cannot be downloaded, or are another network's.
    """
    if name in CVT:
        state = _cvt_weights(name, source or f"microsoft/{name}", download)
    else:
        state = _timm_weights(name, image_size, download)
    kept = {id(value) for value in head(network).state_dict(keep_vars=True).values()}
    wanted = {key for key, value in network.state_dict(keep_vars=True).items() if id(value) not in kept}
    network.load_state_dict({**network.state_dict(), **{key: state[key] for key in wanted}})


def _cvt_weights(name: str, source: str, download: bool) -> Mapping[str, Tensor]:
    transformers = _transformers()
    try:
        config = transformers.AutoConfig.from_pretrained(source, local_files_only=not download)
        found = {key: tuple(getattr(config, key, ())) for key in CVT[name]}
        if config.model_type != "cvt" or found != CVT[name]:
            raise WeightsUnavailable(
                f"{source}: holds a network of the kind {config.model_type!r} with {found}, and {name} has "
                f"{dict(CVT[name])}; name the repository or the backbone that fits: --set config.backbone=NAME"
            )
        network, report = transformers.CvtForImageClassification.from_pretrained(
            source, local_files_only=not download, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsUnavailable(
            f"{source}: its weights cannot be had ({reason[:200]}); {_ONLINE}", *_OFFLINE
        ) from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("classifier."))
    if missing:
        raise WeightsUnavailable(f"{source}: lacks weights of the network, such as {missing[0]}; name another source")
    weights: Mapping[str, Tensor] = network.state_dict()
    return weights


def _timm_weights(name: str, image_size: int, download: bool) -> Mapping[str, Tensor]:
    repository = find_repository(
        _timm_card(name).hf_hub_id,
        download=download,
        install="deepfake-cvt[timm]",
        advice=(f"{_ONLINE}, or run: {{fetch}}", *_OFFLINE),
    )
    (file,) = repository.weights()
    try:
        network = _timm().create_model(
            name,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(file)},
            num_classes=2,
            **_timm_size(name, image_size),
        )
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsUnavailable(f"{name}: its weights cannot be had ({reason[:200]}); {_ONLINE}", *_OFFLINE) from error
    weights: Mapping[str, Tensor] = network.state_dict()
    return weights


def _cells(tokens: Tensor) -> Tensor:
    """Return tokens [N, extra + h·w, C] of a square image as [N, C, h, w], without the extra tokens in front."""
    side = math.isqrt(tokens.shape[1])
    return tokens[:, -side * side :].transpose(1, 2).reshape(len(tokens), -1, side, side)


def _is_cvt(network: nn.Module) -> bool:
    return hasattr(network, "cvt")


def _stages(network: nn.Module) -> Any:
    return network.get_submodule("cvt.encoder.stages")


@functools.cache
def _fused_attention() -> type[nn.Module]:
    """Return CvT's attention as one fused operation; the library computes it by two einsums, which are slower."""
    cvt: Any = importlib.import_module("transformers.models.cvt.modeling_cvt")

    class FusedAttention(cvt.CvtSelfAttention):  # type: ignore[misc]
        """CvT's attention, computed by one operation; the weights and the function are the library's."""

        def forward(self, hidden_state: Tensor, height: int, width: int) -> Tensor:
            """Return the attended tokens [N, extra + h·w, C] of tokens [N, extra + h·w, C]."""
            extra, places = torch.split(hidden_state, [hidden_state.shape[1] - height * width, height * width], 1)
            picture = places.transpose(1, 2).reshape(-1, places.shape[2], height, width)

            def heads(convolution: nn.Module, projection: nn.Module) -> Tensor:
                tokens = torch.cat([extra, convolution(picture)], 1)
                split: Tensor = projection(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
                return split

            context = functional.scaled_dot_product_attention(
                heads(self.convolution_projection_query, self.projection_query),
                heads(self.convolution_projection_key, self.projection_key),
                heads(self.convolution_projection_value, self.projection_value),
                dropout_p=self.dropout.p if self.training else 0.0,
                scale=self.scale,
            )
            return context.transpose(1, 2).flatten(2)

    return FusedAttention


@functools.cache
def _timm_card(name: str) -> Any:
    timm = _timm()
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, [*CVT, *timm.list_models()], n=3)
        meant = f"; did you mean {', '.join(close)}?" if close else ""
        raise DeepfakeError(f"unknown backbone {name!r}: neither {', '.join(CVT)} nor the name of a timm model{meant}")
    return timm.get_pretrained_cfg(name)


def _timm_size(name: str, image_size: int) -> dict[str, int]:
    return {"img_size": image_size} if _timm_card(name).fixed_input_size else {}


def _timm() -> Any:
    ensure_torchvision()
    try:
        import timm
    except ModuleNotFoundError:
        raise MissingExtra("a backbone of timm", "deepfake-cvt[timm]") from None
    return timm


def _transformers() -> Any:
    ensure_torchvision()
    try:
        import transformers
    except ModuleNotFoundError:
        raise MissingExtra("CvT", "deepfake-cvt[torch]") from None
    return transformers

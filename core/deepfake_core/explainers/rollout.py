"""Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928), for vision transformers in torch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers.base import RELATIVE, Explainable, Explainer, with_network
from deepfake_core.explainers.evidence import enlarge, stretched

if TYPE_CHECKING:
    from torch import Tensor, nn


class AttentionRollout(Explainer):
    """Places that the network attends to, over all of its layers, whatever the class.

    The attention of a layer is the mean over its heads, averaged with the identity for the residual connection:
    ``(A + I) / 2``. The product over all layers says how much of each patch reaches the class token; without a class
    token, the mean over all tokens is taken. The least attended place is 0 and the most attended one 1.
    """

    targets = ()
    caption = "where the network attends"
    meaning = f"Colour: places that the network attends to, whatever the class; {RELATIVE}."
    found = "The network attends most {place}."

    def explain(self, detector: Explainable, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        model = with_network(detector)
        layers = model.detector.attention_layers(model.network)
        if not layers:
            raise DeepfakeError(
                f"detector {detector.manifest.name!r} names no layers of attention between all of its places; choose "
                "another explainer, or let its attention_layers return some"
            )
        import torch

        from deepfake_core.explainers.network import one_input

        network, images = one_input(model, crop)
        with attention(layers) as matrices, torch.inference_mode():
            network(images)
        if len(matrices) != len(layers):
            raise DeepfakeError(
                f"attention rollout saw {len(matrices)} of {len(layers)} layers of {detector.manifest.name!r} at work; "
                "choose another explainer"
            )
        maps = rollout(matrices).float().cpu().numpy()
        heats = np.stack([enlarge(stretched(map_), *crop.shape[-3:-1]) for map_ in maps])
        return heats if crop.ndim == 4 else heats[0]


@contextlib.contextmanager
def attention(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the attention of each layer, ``[N, heads, L, L]``, while the network runs.

    The attention is computed from the queries and keys that the layer's own projections give, so that a layer which
    computes it in one fused step works too. The network is left unchanged.

    Args:
        layers: Attention layers of timm (``qkv``), or of Transformers (``q_proj`` and ``k_proj``, or ``query`` and
            ``key``).

    Raises:
        DeepfakeError: A layer is of another kind.
    """
    found: list[Tensor] = []
    with contextlib.ExitStack() as hooks:
        for layer in layers:
            for handle in _hooks(layer, found):
                hooks.callback(handle.remove)
        yield found


def _hooks(layer: Any, found: list[Tensor]) -> Iterator[Any]:
    parts: dict[str, Tensor] = {}

    def split(tokens: Tensor) -> Tensor:
        return tokens.reshape(*tokens.shape[:-1], heads, -1).transpose(-3, -2)  # [N, heads, L, D]

    def weigh() -> None:
        query, key = parts.pop("query"), parts.pop("key")
        found.append((query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1))

    def joint(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        query, key, _ = output.chunk(3, -1)
        parts["query"], parts["key"] = layer.q_norm(split(query)), layer.k_norm(split(key))
        weigh()

    def one(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            parts[name] = split(output)
            if len(parts) == 2:
                weigh()

        return hook

    heads: int = getattr(layer, "num_heads", 0) or getattr(layer, "num_attention_heads", 0)
    if heads and hasattr(layer, "qkv"):
        yield layer.qkv.register_forward_hook(joint)
        return
    for query, key in (("q_proj", "k_proj"), ("query", "key")):
        if heads and hasattr(layer, query) and hasattr(layer, key):
            yield getattr(layer, query).register_forward_hook(one("query"))
            yield getattr(layer, key).register_forward_hook(one("key"))
            return
    raise DeepfakeError(
        f"attention rollout cannot read {type(layer).__name__}: it has neither qkv nor q_proj and k_proj; choose "
        "another explainer"
    )


def rollout(matrices: Sequence[Tensor]) -> Tensor:
    """Multiply the attention of all layers: how much of each patch reaches the output.

    Args:
        matrices: One ``[N, heads, L, L]`` for each layer, first layer first, each row summing to 1. The last n² of
            the L tokens are the patches of a square picture; where L > n², the first token is the class token.

    Returns:
        ``[N, n, n]``, not negative.
    """
    import torch

    length = matrices[0].shape[-1]
    side = math.isqrt(length)
    extra = length - side * side
    identity = torch.eye(length, device=matrices[0].device, dtype=matrices[0].dtype)
    total = identity.expand(len(matrices[0]), -1, -1)
    for matrix in matrices:
        total = (matrix.mean(1) + identity) / 2 @ total
    reached = total[:, 0] if extra else total.mean(1)
    return reached[:, extra:].reshape(-1, side, side)

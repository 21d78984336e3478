"""The network: two EfficientNets over every frame, ConvLSTMs over time, one score after each frame.

The documented system has ConvLSTMs of [256, 128] filters and a classifier 512 → 256 → 128 → 1. These shapes fit
together as follows: 1×1 convolutions bring the features of both EfficientNets to 256 channels; each stream's last
hidden state (128 channels) is averaged over its cells and mapped to 256 numbers; fusion leaves the 256 of both streams
side by side.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfake_core import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepfake_dualstream.config import DualStreamConfig


# Share of the running statistics of normalisation that each step keeps: one minus what torch calls momentum. With the
# library's own 0.99, validation uses almost the initial statistics for hundreds of steps: longer than small runs last.
_KEPT = 0.9


class Features(nn.Module):
    """An EfficientNet (Tan & Le 2019, arXiv 1905.11946) without its head: ``[N, 3, s, s]`` → ``[N, C, h, h]``.

    Args:
        name: Variant of EfficientNet, ``"b0"`` to ``"b7"``.
        size: Side of the input in pixels. It fixes the padding: B0 at 112 gives 4×4 only when the size is known here.

    Raises:
        MissingExtra: ``efficientnet-pytorch`` is not installed.
    """

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self.name = f"efficientnet-{name}"
        self.net: Any = library().EfficientNet.from_name(
            self.name, image_size=size, include_top=False, batch_norm_momentum=_KEPT
        )
        # The default activation is a custom autograd function, which neither exports nor recomputes.
        self.net.set_swish(memory_efficient=False)
        self.channels: int = self.net._bn1.num_features

    def forward(self, frames: Tensor) -> Tensor:
        """Return the features [N, C, h, h] of frames [N, 3, s, s]."""
        features: Tensor = self.net.extract_features(frames)
        return features


class ConvLSTM(nn.Module):
    """One layer of a convolutional LSTM (Shi et al. 2015, arXiv 1506.04214), without peepholes.

    Args:
        channels: Channels of the input.
        filters: Channels of the hidden state.
        kernel: Side of the kernels of both convolutions.
    """

    def __init__(self, channels: int, filters: int, kernel: int = 3) -> None:
        super().__init__()
        self.filters = filters
        self.input = nn.Conv2d(channels, 4 * filters, kernel, padding=kernel // 2)
        self.hidden = nn.Conv2d(filters, 4 * filters, kernel, padding=kernel // 2, bias=False)
        with torch.no_grad():
            # A forget gate that begins open lets gradients reach the first frames (Jozefowicz et al. 2015).
            assert self.input.bias is not None
            self.input.bias[filters : 2 * filters] = 1.0

    def forward(self, sequence: Tensor) -> Tensor:
        """Return the hidden states float32 [N, T, filters, h, w] for a sequence [N, T, C, h, w]."""
        length = sequence.shape[1]
        # The convolution of the inputs does not depend on the state, so that it takes all frames at once.
        inputs = self.input(sequence.flatten(0, 1)).unflatten(0, (-1, length))
        hidden = torch.zeros_like(inputs[:, 0, : self.filters])
        # The cell is float32 also under autocast, because it adds up over the whole clip.
        cell = hidden.float()
        states = []
        for step in range(length):
            gates = (inputs[:, step] + self.hidden(hidden)).float()
            enter, forget, leave, candidate = gates.chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, dim=1)


class Stream(nn.Module):
    """One view of the frames over time: [N, T, 3, s, s] → float32 [N, T, embedding].

    Args:
        backbone: Variant of EfficientNet, ``"b0"`` to ``"b7"``.
        size: Side of the input in pixels.
        projection: Channels of the features before the ConvLSTMs.
        filters: Channels of each ConvLSTM.
        embedding: Length of the vector that describes a frame and all frames before it.
    """

    def __init__(self, backbone: str, size: int, projection: int, filters: Sequence[int], embedding: int) -> None:
        super().__init__()
        self.features = Features(backbone, size)
        self.projection = nn.Conv2d(self.features.channels, projection, 1)
        inputs = (projection, *filters[:-1])
        self.layers = nn.Sequential(*(ConvLSTM(*sizes) for sizes in zip(inputs, filters, strict=True)))
        self.embedding = nn.Sequential(nn.Linear(filters[-1], embedding), nn.ReLU())

    def forward(self, frames: Tensor) -> Tensor:
        """Return a vector after each frame, float32 [N, T, embedding], for frames [N, T, 3, s, s]."""
        length = frames.shape[1]
        features = self.projection(self.features(frames.flatten(0, 1)))
        states = self.layers(features.unflatten(0, (-1, length)))
        embedded: Tensor = self.embedding(states.mean((3, 4)))
        return embedded


class Attention(nn.Module):
    """Fusion that gives each stream a weight, which sum to one: [M, 2, D] → [M, 2, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, streams: Tensor) -> Tensor:
        """Return the weighted streams [M, 2, D]."""
        return streams * torch.softmax(self.score(streams), dim=1)


class SelfAttention(nn.Module):
    """Fusion by self-attention of the streams as two tokens, with a residual: [M, 2, D] → [M, 2, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, streams: Tensor) -> Tensor:
        """Return the normalised sum of the streams [M, 2, D] and their attention."""
        split = self.queries_keys_values(streams).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        normalised: Tensor = self.norm(streams + self.out(mixed))
        return normalised


class Gate(nn.Module):
    """Fusion by a gate for each element: ``g`` times the first and ``1 - g`` times the second stream, [M, 2, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, width)

    def forward(self, streams: Tensor) -> Tensor:
        """Return the gated streams [M, 2, D]."""
        gate = torch.sigmoid(self.gate(streams.flatten(1)))
        return streams * torch.stack([gate, 1 - gate], dim=1)


class DualStream(nn.Module):
    """The whole network: normalised clips float32 [N, T, 3, H, W] → ``logit`` [N] and ``frame_logit`` [N, T].

    The classifier is applied after every frame; ``logit`` is its output after the last frame, when it has seen all.
    """

    def __init__(self, config: DualStreamConfig) -> None:
        super().__init__()
        shape = (config.projection, config.filters, config.embedding)
        self.high = Stream(config.high_backbone, config.size, *shape)
        self.low = Stream(config.low_backbone, config.low_size, *shape)
        self.reduction = config.size // config.low_size
        self.fusion = _fusion(config)
        layers: list[nn.Module] = []
        width = 2 * config.embedding
        for hidden, dropout in zip(config.hidden, config.dropout, strict=True):
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)]
            width = hidden
        self.classifier = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``logit`` float32 [N] and ``frame_logit`` float32 [N, T] for clips float32 [N, T, 3, H, W]."""
        length = clips.shape[1]
        # Averaging whole blocks of pixels is exact, and equal in every runtime.
        small = torch.unflatten(F.avg_pool2d(clips.flatten(0, 1), self.reduction), 0, (-1, length))
        streams = torch.stack([self.high(clips).flatten(0, 1), self.low(small).flatten(0, 1)], dim=1)
        frame_logit = self.classifier(self.fusion(streams).flatten(1)).reshape(-1, length)
        return frame_logit[:, -1], frame_logit


def _fusion(config: DualStreamConfig) -> nn.Module:
    width = config.embedding
    match config.fusion:
        case "attention":
            return Attention(width)
        case "self_attention":
            return SelfAttention(width, config.attention_heads)
        case "gate":
            return Gate(width)
        case "concat":
            return nn.Identity()


def library() -> Any:
    """Return the package ``efficientnet_pytorch``.

    Raises:
        MissingExtra: The package is not installed.
    """
    try:
        return importlib.import_module("efficientnet_pytorch")
    except ModuleNotFoundError:
        raise MissingExtra("EfficientNet", "deepfake-dualstream[torch]") from None

"""The detector of videos: recipes, preprocessing, ImageNet weights, and the parts that training treats apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from deepfake_core import (
    PRESETS,
    Clip,
    Detector,
    DetectorConfig,
    Distil,
    ExplainLayer,
    FaceCrop,
    Normalize,
    Phase,
    PreprocessSpec,
    Resize,
    Schedule,
    TensorSpec,
    TrainRecipe,
    WeightsUnavailable,
    split_parameters,
)
from deepfake_dualstream.config import DualStreamConfig
from deepfake_dualstream.network import DualStream, Features, Stream, library

DEFAULT = PRESETS["plateau"]
"""Batches of 12, AdamW at 1e-4, the rate halved on a plateau of the validation loss, which also stops the run early."""


DISTILLED = DEFAULT.model_copy(
    update={
        "phases": (Phase(epochs=60, lr=3e-4, schedule=Schedule(name="cosine", warmup=0.1)),),
        "monitor": "auc",
        "mode": "max",
        "patience": None,
        "pretrained": False,
        "distil": Distil(teacher="lite", weight=0.7, temperature=2.0),
    }
)
"""From random weights, where a trained detector of pictures says what it sees in each frame."""


def _frozen(recipe: TrainRecipe) -> TrainRecipe:
    """Return a recipe that trains the head alone, on frozen EfficientNets."""
    phases = tuple(phase.model_copy(update={"lr": {"head": 1e-4}}) for phase in recipe.phases)
    return recipe.model_copy(update={"phases": phases})


class DualStreamDetector(Detector):
    """A detector of clips that views every frame at two resolutions."""

    Config = DualStreamConfig
    config: DualStreamConfig
    recipes: ClassVar[Mapping[str, TrainRecipe]] = {
        "default": DEFAULT,
        "baseline": DEFAULT,
        "fast": DEFAULT,
        "high-accuracy": DEFAULT,
        "frozen": _frozen(DEFAULT),
        "distilled": DISTILLED,
        "smoke": DEFAULT.smoke(),
    }
    # The presets differ in the network; its training is the same.
    configs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fast": {"high_backbone": "b0", "low_backbone": "b0", "frames": 8},
        "distilled": {"high_backbone": "b0", "low_backbone": "b0", "frames": 8},
        "high-accuracy": {"high_backbone": "b5", "low_backbone": "b1", "frames": 12},
        "smoke": {"high_backbone": "b0", "low_backbone": "b0", "frames": 4, "size": 64, "low_size": 32},
    }

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        self.preprocess = PreprocessSpec(
            clip=Clip(length=self.config.frames, stride=self.config.stride),
            crop=FaceCrop(margin=self.config.margin),
            resize=Resize(height=self.config.size, width=self.config.size),
            normalize=Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        )
        self.extra_outputs = (TensorSpec(name="frame_logit", dtype="float32", shape=("N", self.config.frames)),)

    def build(self) -> nn.Module:
        return DualStream(self.config)

    def init_pretrained(self, network: nn.Module, *, download: bool = False) -> None:
        """Load the ImageNet-1k weights that ``efficientnet-pytorch`` names, from torch's cache or by a download.

        Raises:
            WeightsUnavailable: The weights are not in the cache, and may not or cannot be downloaded.
        """
        for features in _features(network):
            _load_imagenet(features, download=download)

    def param_groups(self, network: nn.Module) -> dict[str, list[nn.Parameter]]:
        backbone, head = split_parameters(network, _features(network))
        return {"backbone": backbone, "head": head}

    def checkpoint_modules(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return tuple(block for features in _features(network) for block in features.net._blocks)

    def explain_layers(self, network: nn.Module) -> tuple[ExplainLayer, ...]:
        """Return the last feature maps of both streams, [N·T, C, h, w]; the frames of a clip follow one another."""
        return tuple(ExplainLayer(features) for features in _features(network))


def _features(network: nn.Module) -> tuple[Features, Features]:
    """Return the EfficientNets of the high-quality and of the low-quality stream."""
    high, low = network.get_submodule("high"), network.get_submodule("low")
    assert isinstance(high, Stream)
    assert isinstance(low, Stream)
    return high.features, low.features


def _load_imagenet(features: Features, *, download: bool) -> None:
    url = library().utils.url_map[features.name]
    file = f"{torch.hub.get_dir()}/checkpoints/{url.rpartition('/')[2]}"
    remedy = f"put the file there by hand from {url}, or start from random weights: --set pretrained=false"
    if not download and not Path(file).exists():
        raise WeightsUnavailable(f"{file}: is not here; use --download (download=True), or {remedy}")
    try:
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
        features.net.load_state_dict({name: value for name, value in state.items() if not name.startswith("_fc.")})
    except OSError as error:
        raise WeightsUnavailable(f"{file}: is not here and cannot be downloaded ({error}); {remedy}") from error
    except Exception as error:
        # A damaged or foreign file fails in many ways: in the container, in unpickling, in names or shapes.
        reason = " ".join(str(error).split())[:200]
        raise WeightsUnavailable(f"{file}: holds no weights of {features.name} ({reason}); {remedy}") from error

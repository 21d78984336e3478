"""The ``unet`` detector: localises blended regions, and returns the perturbation that protects a face."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from deepfake_core import (
    Detector,
    DetectorConfig,
    ExplainLayer,
    FaceCrop,
    Normalize,
    Pairs,
    Phase,
    PreprocessSpec,
    PseudoFakes,
    Resize,
    Schedule,
    TensorSpec,
    TrainingSet,
    TrainRecipe,
    evidence_bce,
    evidence_overlap,
    split_parameters,
)
from deepfake_core.training.loop.step import working_precision
from deepfake_unet.network import STRIDE, UNet
from deepfake_unet.protector import PERTURBATION
from deepfake_unet.training.protection import Protection, training_surrogates

DEFAULT = TrainRecipe(
    phases=(Phase(steps=160, lr=1e-3),),
    samples="pairs",
    batch_size=8,
    ema=0.98,
    # Validation measures the localiser only, so that one at the end is enough: longer training protects better.
    eval_every=160,
    save_every=40,
    workers=1,
    pairs=Pairs(
        pseudo=PseudoFakes(self_blend=0.6, composite=0.15, reconstruct=0.0, labelled=0.25),
        validation=50,
        autoencoder_steps=500,
        small_until=0.0,
    ),
)
"""The recipe of the shipped weights: generators first, then both heads; it takes about half an hour on two cores."""


LOCALISE = TrainRecipe(
    phases=(Phase(steps=6000, lr=1e-3, schedule=Schedule(name="cosine", warmup=0.05)),),
    samples="pairs",
    batch_size=16,
    ema=0.999,
    eval_every=600,
    save_every=100,
    monitor="auc_mean",
    workers=1,
    pairs=Pairs(
        pseudo=PseudoFakes(self_blend=0.4, composite=0.35, reconstruct=0.0, labelled=0.25),
        validation=200,
        autoencoder_steps=500,
        small_until=0.6,
        small_size=128,
    ),
)
"""The map alone, at full size, in a smaller trunk; most of its fakes are blends, whose masks are known."""


class UnetConfig(DetectorConfig):
    """Hyper-parameters of :class:`Unet`.

    Attributes:
        image_size: Side of the square input in pixels, a multiple of 32.
        margin: Crop margin: side of the crop divided by the longer side of the face box.
        widths: Channels of the trunk at full, half, quarter … resolution.
        epsilon: Largest change of a pixel's channel, in units of the pixel range [0, 1].
        reduction: Factor by which the trunk sees the input smaller: 4 is fast, and enough for a smooth perturbation; a
            localiser of blended regions needs 1.
        evidence_weight: Weight of the evidence map's loss; that of the classification loss is 1.
        overlap_weight: Weight of the overlap of evidence map and blend mask; with 0 only the cells count, one by one.
        protect_weight: Weight of the perturbation's loss; 0 trains the localiser alone.
        visibility: Weight of the perturbation's mean square, in units of the bound, within its loss.
    """

    image_size: int = Field(256, ge=32, multiple_of=32)
    margin: float = Field(1.3, gt=0.5, le=4)
    widths: tuple[int, ...] = Field((32, 64, 128, 256, 264), min_length=2, max_length=6)
    epsilon: float = Field(0.03, gt=0, le=1)
    reduction: Literal[1, 2, 4] = 4
    evidence_weight: float = Field(0.5, ge=0)
    overlap_weight: float = Field(0.0, ge=0)
    protect_weight: float = Field(1.0, ge=0)
    visibility: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _size_fits(self) -> Self:
        cells = self.reduction * 2 ** (len(self.widths) - 1)
        if self.image_size % cells:
            raise ValueError(f"image_size must be a multiple of {cells} with these widths and this reduction")
        return self


class Unet(Detector):
    """A localiser of blended regions and a protector in one network."""

    Config = UnetConfig
    config: UnetConfig
    recipes: ClassVar[Mapping[str, TrainRecipe]] = {"default": DEFAULT, "localise": LOCALISE, "smoke": DEFAULT.smoke()}
    configs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "localise": {
            "reduction": 1,
            "widths": (16, 32, 64, 128, 160),
            "evidence_weight": 1.0,
            "overlap_weight": 0.5,
            "protect_weight": 0.0,
        }
    }

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        size = self.config.image_size
        self.evidence_size = (size // STRIDE, size // STRIDE)
        self.extra_outputs = (TensorSpec(name=PERTURBATION, dtype="float32", shape=("N", size, size, 3)),)
        self.preprocess = PreprocessSpec(
            crop=FaceCrop(margin=self.config.margin),
            resize=Resize(height=size, width=size),
            normalize=Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        )
        self.protection: Protection | None = None

    def build(self) -> nn.Module:
        return UNet(self.config.widths, self.config.epsilon, self.config.reduction)

    def before_training(
        self, training: TrainingSet, recipe: TrainRecipe, cache_dir: Path, device: torch.device
    ) -> None:
        """Train the generators that the perturbation is trained to disturb, or load them from the cache."""
        config = self.config
        if config.protect_weight:
            surrogates = training_surrogates(training, recipe, cache_dir, device, config.margin)
            precision = working_precision(recipe.precision, device)
            self.protection = Protection(surrogates, config.epsilon, config.visibility, precision)

    def loss(self, output: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the losses of logit, evidence map (where masks are known) and perturbation, a scalar."""
        logit, evidence, perturbation = output
        loss = super().loss(logit, batch)
        if (mask := batch.get("mask")) is not None:
            if self.config.evidence_weight:
                loss = loss + self.config.evidence_weight * evidence_bce(evidence, mask, batch["weight"])
            if self.config.overlap_weight:
                loss = loss + self.config.overlap_weight * evidence_overlap(evidence, mask, batch["weight"])
        if self.protection is not None:
            loss = loss + self.config.protect_weight * self.protection.loss(batch["images"], perturbation)
        return loss

    def checkpoint_modules(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return (*network.get_submodule("down").children(), *network.get_submodule("up").children())

    def param_groups(self, network: nn.Module) -> dict[str, list[nn.Parameter]]:
        trunk, heads = split_parameters(network, map(network.get_submodule, ("down", "enlarge", "up")))
        return {"backbone": trunk, "head": heads}

    def explain_layers(self, network: nn.Module) -> tuple[ExplainLayer, ...]:
        return (ExplainLayer(network.get_submodule(f"up.{len(self.config.widths) - 2}")),)

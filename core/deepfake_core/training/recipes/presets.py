"""Recipes that any detector can be trained by, and functions that make variants of them.

A detector's own recipes come first; a name that is none of them is looked up in :data:`PRESETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deepfake_core.contract.recipe import Optimizer, Phase, Schedule, TrainRecipe


def two_phase(
    batch_size: int, head_epochs: int, fine_tune_epochs: int, *, head_lr: float = 1e-3, backbone_lr: float = 1e-5
) -> TrainRecipe:
    """Make a recipe that trains the head on a frozen backbone, then everything with a slower backbone.

    Args:
        batch_size: Samples per forward pass.
        head_epochs: Length of the first phase, at a constant learning rate.
        fine_tune_epochs: Length of the second phase, under a cosine with warm-up.
        head_lr: Peak learning rate of the head in both phases.
        backbone_lr: Peak learning rate of the backbone in the second phase.
    """
    return TrainRecipe(
        phases=(
            Phase(
                name="head",
                epochs=head_epochs,
                lr={"head": head_lr},
                schedule=Schedule(name="constant", warmup=0.0),
            ),
            Phase(
                name="fine-tune",
                epochs=fine_tune_epochs,
                lr={"head": head_lr, "backbone": backbone_lr},
                schedule=Schedule(name="cosine", warmup=0.1),
            ),
        ),
        batch_size=batch_size,
        monitor="auc",
        mode="max",
    )


def one_cycle(
    batch_size: int, epochs: int, *, workers: int, data_share: float = 1.0, fast: bool = False
) -> TrainRecipe:
    """Make a recipe of AdamW under one cycle of the learning rate, with gradients accumulated over two passes.

    Args:
        batch_size: Samples per forward pass.
        epochs: Length of the training.
        workers: Processes that make samples; -1 takes every core.
        data_share: Share of the training data that is used.
        fast: Whether to compile the network and to store images with their channels last.
    """
    return TrainRecipe(
        phases=(Phase(epochs=epochs, lr=5e-4, schedule=Schedule(name="one_cycle", warmup=0.1)),),
        optimizer=Optimizer(weight_decay=0.05),
        batch_size=batch_size,
        accumulate=2,
        grad_clip=1.0,
        label_smoothing=0.1,
        precision="auto",
        channels_last=fast,
        compile=fast,
        patience=10,
        workers=workers,
        data_share=data_share,
        max_images=300_000,
        augment="affine-codec",
    )


PRESETS: Mapping[str, TrainRecipe] = MappingProxyType(
    {
        "two-phase": two_phase(64, 3, 5),
        "mixed-precision": TrainRecipe(phases=(Phase(epochs=50),), batch_size=32, precision="auto"),
        "plateau": TrainRecipe(
            phases=(Phase(epochs=100, lr=1e-4, schedule=Schedule(name="plateau", warmup=0.0, factor=0.5, patience=3)),),
            samples="clips",
            batch_size=12,
            grad_clip=1.0,
            precision="auto",
            monitor="val_loss",
            mode="min",
            patience=10,
            validation_share=0.15,
        ),
        "one-cycle": one_cycle(64, 30, workers=-1),
    }
)
"""Recipes by the name that ``dfbench train --recipe`` takes; ``plateau`` is for detectors of clips."""

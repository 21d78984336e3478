"""Recipes that any detector can use: the training set-ups of the systems that this project unifies.

A detector's own recipes go first; these are found by name after them. REQUIREMENTS IDs stand beside each.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deepfake_core.contract.recipe import Optimizer, Phase, Schedule, TrainRecipe


def two_phase(
    batch_size: int, head_epochs: int, fine_tune_epochs: int, *, head_lr: float = 1e-3, backbone_lr: float = 1e-5
) -> TrainRecipe:
    """Head alone on a frozen backbone, then everything with a slow backbone and a warm cosine (001-8, 13, 14)."""
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
    """AdamW under one cycle with accumulation over two passes (004-6, 8, 11)."""
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
        # 001-8 and, under their own names, the settings of 001-9
        "two-phase": two_phase(64, 3, 5),
        "two-phase-1+1": two_phase(4, 1, 1),
        "two-phase-5+5": two_phase(5, 5, 5),
        "two-phase-10+10": two_phase(32, 10, 10),
        "two-phase-25+15": two_phase(32, 25, 15, backbone_lr=1e-4),
        # 002-2
        "mixed-precision": TrainRecipe(phases=(Phase(epochs=50),), batch_size=32, precision="auto"),
        # 003-6, 8, 10, 11
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
        # 004-8 and the presets of 004-11
        "one-cycle": one_cycle(64, 30, workers=-1),
        "one-cycle-fast": one_cycle(256, 20, workers=8, data_share=0.2, fast=True),
        "one-cycle-full": one_cycle(128, 30, workers=12),
    }
)

"""A training recipe, as data: everything that decides what a run does, with documented defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deepfake_registry.manifest import Frozen


class PseudoFakes(Frozen):
    """Shares of each batch's fakes by the way they are made; they need not sum to one.

    Attributes:
        self_blend: Self-blended images (Shiohara & Yamasaki 2022, arXiv 2204.08376).
        composite: Parts of another face, aligned by landmarks and blended in.
        reconstruct: Real faces passed through an up-sampling network or interpolation chain.
        labelled: Fakes that come with the dataset.
    """

    self_blend: float = Field(0.4, ge=0)
    composite: float = Field(0.2, ge=0)
    reconstruct: float = Field(0.15, ge=0)
    labelled: float = Field(0.25, ge=0)


class TrainRecipe(Frozen):
    """How one run trains.

    Attributes:
        steps: Optimiser steps in all.
        batch_size: Pictures per step; half of them real, half fake.
        lr: Peak learning rate, reached after ``warmup`` (a share of ``steps``), then cosine to zero.
        weight_decay: AdamW's decay, on matrices and kernels only.
        ema: Decay of the exponential moving average that is validated and kept; 0 keeps the raw weights.
        precision: ``bf16`` is used on devices that have it.
        eval_every: Steps between validations.
        monitor: Validation metric that selects ``best``.
        mode: Whether ``monitor`` is better when higher (``max``) or lower (``min``).
        workers: Processes that make samples; -1 takes every core.
        validation_share: Share of each source's groups that is held out.
        validation_pairs: Held-out pairs made of each family of pseudo-fakes; also the most held-out pictures per
            source and class.
        autoencoder_steps: Training steps of each autoencoder that makes reconstructions.
        reconstructed: Real faces that are reconstructed, at most; spread evenly over the sources' faces.
        small_until: Share of the steps that train on small inputs, which are cheaper (progressive resizing, Tan &
            Le 2021, arXiv 2104.00298).
        small_size: Side of a small input in pixels.
        pseudo: Where fakes come from.
    """

    steps: int = Field(2000, gt=0)
    batch_size: int = Field(32, ge=2)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    grad_clip: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True
    pretrained: bool = True
    seed: int = 42
    eval_every: int = Field(500, gt=0)
    monitor: str = "auc"
    mode: Literal["max", "min"] = "max"
    workers: int = Field(-1, ge=-1)
    validation_share: float = Field(0.15, gt=0, lt=0.5)
    validation_pairs: int = Field(500, gt=0)
    autoencoder_steps: int = Field(1500, gt=0)
    reconstructed: int = Field(2000, gt=0)
    small_until: float = Field(0.0, ge=0, lt=1)
    small_size: int = Field(160, gt=0, multiple_of=32)
    pseudo: PseudoFakes = PseudoFakes()

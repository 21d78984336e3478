"""A training recipe, as data: everything that decides what a run does, with documented defaults."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from deepfake_registry.manifest import Frozen


class Settings(Frozen):
    """Base of a recipe's parts: every number is finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Optimizer(Settings):
    """How gradients become updates.

    Attributes:
        name: AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015), or SGD with Nesterov momentum.
        weight_decay: On matrices and kernels only; biases and normalisation never decay.
        betas: Of Adam and AdamW.
        momentum: Of SGD.
        sam: Radius ρ of sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412) around any of them;
            0 switches it off. It doubles the cost of a step.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = Field(0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = Field(0.9, ge=0, lt=1)
    sam: float = Field(0.0, ge=0)


class Schedule(Settings):
    """How a phase's learning rates change from their peaks.

    Attributes:
        name: ``cosine``: linear warm-up, then a cosine to zero. ``one_cycle``: Smith & Topin 2018
            (arXiv 1708.07120) as in torch, over the phase's exact number of steps. ``plateau``: linear warm-up,
            then times ``factor`` after ``patience`` validations without a better ``monitor``. ``constant``: linear
            warm-up, then the peak.
        warmup: Share of the phase's steps before the peak.
        factor: Of ``plateau``.
        patience: Of ``plateau``, in validations.
    """

    name: Literal["cosine", "one_cycle", "plateau", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    factor: float = Field(0.5, gt=0, lt=1)
    patience: int = Field(3, ge=0)


class Phase(Settings):
    """One stretch of training with its own optimiser state.

    Attributes:
        name: For logs.
        epochs: Length in passes over the training data; or
        steps: Length in optimiser steps. Exactly one of the two is given.
        lr: Peak learning rate; or one for each group of parameters that trains
            (:meth:`~deepfake_core.contract.detector.Detector.param_groups`), the other groups being frozen.
        schedule: How the rates change.
    """

    name: str = "all"
    epochs: int | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0)
    lr: float | dict[str, float] = 1e-3
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("a phase needs either epochs or steps")
        rates = self.lr.values() if isinstance(self.lr, dict) else [self.lr]
        if not rates or min(rates) <= 0:
            raise ValueError("lr must be positive, and name at least one group")
        return self

    def peak(self, group: str) -> float | None:
        """Peak learning rate of one group of parameters; ``None`` where the phase freezes it."""
        return self.lr.get(group) if isinstance(self.lr, dict) else self.lr


class PseudoFakes(Settings):
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


class Pairs(Settings):
    """How ``samples="pairs"`` makes fakes from real faces.

    Attributes:
        pseudo: Where fakes come from.
        validation: Held-out pairs made of each family of pseudo-fakes; also the most held-out pictures per source
            and class.
        autoencoder_steps: Training steps of each autoencoder that makes reconstructions.
        reconstructed: Real faces that are reconstructed, at most; spread evenly over the sources' faces.
        small_until: Share of the steps that train on small inputs, which are cheaper (progressive resizing, Tan &
            Le 2021, arXiv 2104.00298).
        small_size: Side of a small input in pixels.
    """

    pseudo: PseudoFakes = PseudoFakes()
    validation: int = Field(500, gt=0)
    autoencoder_steps: int = Field(1500, gt=0)
    reconstructed: int = Field(2000, gt=0)
    small_until: float = Field(0.0, ge=0, lt=1)
    small_size: int = Field(160, gt=0, multiple_of=32)


class TrainRecipe(Settings):
    """How one run trains.

    Attributes:
        phases: What trains when, in order.
        optimizer: The same for every phase; its state starts anew with each.
        samples: ``pictures``: the labelled pictures. ``pairs``: each real face with a fake made from it
            (:class:`Pairs`), beside labelled ones. ``clips``: sequences of frames, as long and as far apart as the
            detector takes them.
        batch_size: Samples per forward pass, over all processes together.
        accumulate: Forward passes per optimiser step; gradients are averaged over them.
        grad_clip: Largest norm of all gradients together; 0 never clips. The norm is logged either way.
        label_smoothing: Targets become ``y·(1-s) + s/2``.
        ema: Decay of the exponential moving average that is validated and kept; 0 keeps the raw weights.
        precision: ``auto``: bf16 on a GPU that has it, fp16 on any other GPU, fp32 on a CPU.
        channels_last: Memory format of the network.
        compile: Run the network through ``torch.compile``.
        compile_backend: Of ``torch.compile``.
        checkpointing: Recompute activations in the backward pass: slower, much less memory.
        pretrained: Start from the backbone's public weights.
        seed: Of everything that is drawn at random.
        eval_every: Optimiser steps between validations; by default one epoch.
        save_every: Optimiser steps between checkpoints, beside the one at every validation.
        monitor: Validation metric that selects ``best``.
        mode: Whether ``monitor`` is better when higher (``max``) or lower (``min``).
        patience: Validations in a row without a better ``monitor`` that end the run; ``None`` never does.
        balance: Both classes alike: by the ``sampler`` (the smaller one is repeated) or in the ``loss``.
        augment: Name of the augmentation of labelled pictures
            (:data:`deepfake_core.training.data.augment.POLICIES`).
        augment_on: Where flips and changes of colour happen: in the loading processes, or on the ``device``.
        workers: Processes that make samples; -1 takes every core.
        max_bad: Share of unreadable samples in an epoch beyond which training stops.
        data_share: Share of the training data that is used, whole groups at a time.
        max_images: Most pictures to prepare of each dataset.
        overfit: Train and validate on this many samples, without augmentation, to see whether the network can
            learn at all.
        validation_share: Share of each source's groups that is held out where the dataset has no split.
        allow_shared_identities: Whether a person may be shown in training and in validation; needed to follow
            protocols that share them, such as the official split of Celeb-DF.
        explain: Validation samples of which overlays are written at the end.
        pairs: For ``samples="pairs"``.
    """

    phases: tuple[Phase, ...] = Field((Phase(epochs=10),), min_length=1)
    optimizer: Optimizer = Optimizer()
    samples: Literal["pictures", "pairs", "clips"] = "pictures"
    batch_size: int = Field(32, ge=2)
    accumulate: int = Field(1, gt=0)
    grad_clip: float = Field(1.0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    ema: float = Field(0.0, ge=0, lt=1)
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    channels_last: bool = True
    compile: bool = False
    compile_backend: str = "inductor"
    checkpointing: bool = False
    pretrained: bool = True
    seed: int = Field(42, ge=0)
    eval_every: int | None = Field(None, gt=0)
    save_every: int | None = Field(None, gt=0)
    monitor: str = "auc"
    mode: Literal["max", "min"] = "max"
    patience: int | None = Field(None, gt=0)
    balance: Literal["none", "sampler", "loss"] = "none"
    augment: str = "standard"
    augment_on: Literal["host", "device"] = "host"
    workers: int = Field(-1, ge=-1)
    max_bad: float = Field(0.01, ge=0, le=1)
    data_share: float = Field(1.0, gt=0, le=1)
    max_images: int | None = Field(None, gt=0)
    overfit: int | None = Field(None, gt=0)
    validation_share: float = Field(0.15, gt=0, lt=1)
    allow_shared_identities: bool = False
    explain: int = Field(20, ge=0)
    pairs: Pairs = Pairs()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.optimizer.sam and (self.accumulate > 1 or self.precision == "fp16"):
            raise ValueError("sam needs accumulate=1 and a precision other than fp16")
        if self.samples == "pairs" and self.batch_size % 2:
            raise ValueError("pairs need an even batch_size")
        return self

    def smoke(self) -> TrainRecipe:
        """The same recipe in a size that shows in a minute whether everything works."""
        phases = tuple(phase.model_copy(update={"epochs": None, "steps": 3}) for phase in self.phases)
        return self.model_copy(
            update={
                "phases": phases,
                "batch_size": 4,
                "eval_every": 2,
                "save_every": None,
                "workers": 0,
                "pretrained": False,
                "max_images": 64,
                "explain": min(self.explain, 2),
                "pairs": self.pairs.model_copy(
                    update={
                        "validation": 4,
                        "autoencoder_steps": 2,
                        "small_until": 0.0,
                        "pseudo": self.pairs.pseudo.model_copy(update={"reconstruct": 0.0}),
                    }
                ),
            }
        )


RENAMED_POLICIES = {"radar": "affine-codec", "cvt": "affine"}
"""Names that augmentation policies had before → the names that they have now."""

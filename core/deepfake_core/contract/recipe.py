"""Training recipes as data: every setting that decides what a run does, with its default."""

from __future__ import annotations

import warnings
from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from deepfake_registry.manifest import Frozen

RENAMED_POLICIES = {"radar": "affine-codec", "cvt": "affine"}
"""Old name of an augmentation policy → its present name. For one release, recipes accept old names with a warning."""


class Settings(Frozen):
    """Base of a recipe and its parts; every number must be finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Optimizer(Settings):
    """Settings of the optimiser.

    Attributes:
        name: AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015), or SGD with Nesterov momentum.
        weight_decay: Weight decay of matrices and kernels. Biases and parameters of normalisation never decay.
        betas: Decay rates of the running moments of Adam and AdamW.
        momentum: Momentum of SGD.
        sam: Radius ρ of sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412), which can surround each
            of the optimisers and doubles the cost of a step; 0 switches it off.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = Field(0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = Field(0.9, ge=0, lt=1)
    sam: float = Field(0.0, ge=0)


class Schedule(Settings):
    """Change of a phase's learning rates from their peaks.

    Attributes:
        name: ``cosine``: linear warm-up, then a cosine to zero. ``one_cycle``: one cycle (Smith & Topin 2018,
            arXiv 1708.07120) as in torch, over the phase's exact length. ``plateau``: linear warm-up, then
            the rate is multiplied by ``factor`` after ``patience`` validations without a better ``monitor``.
            ``constant``: linear warm-up, then the peak.
        warmup: Share of the phase before the peak.
        factor: Factor by which ``plateau`` reduces the rate.
        patience: Number of validations without improvement after which ``plateau`` reduces the rate.
    """

    name: Literal["cosine", "one_cycle", "plateau", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    factor: float = Field(0.5, gt=0, lt=1)
    patience: int = Field(3, ge=0)


LENGTHS = ("epochs", "steps", "minutes")
"""Settings of a phase of which exactly one is given."""


class Phase(Settings):
    """Part of a training run, with an optimiser state of its own.

    Attributes:
        name: Name of the phase in logs.
        epochs: Length in passes over the training data. Exactly one of ``epochs``, ``steps`` and ``minutes`` is given.
        steps: Length in optimiser steps.
        minutes: Length in minutes of training, validations and checkpoints included. The schedule follows the clock;
            in the last phase, the last validation and the packaging of the model end within this time, too. Such a run
            cannot be repeated bit by bit.
        lr: Peak learning rate; or a peak for each group of parameters
            (:meth:`~deepfake_core.contract.detector.Detector.param_groups`) that trains, the other groups being frozen.
            ``backbone`` stands for all groups ``backbone/…`` that are not named themselves.
        schedule: Change of the learning rates within the phase.
    """

    name: str = "all"
    epochs: int | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0)
    minutes: float | None = Field(None, gt=0)
    lr: float | dict[str, float] = 1e-3
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if sum(length is not None for length in (self.epochs, self.steps, self.minutes)) != 1:
            raise ValueError("a phase needs either epochs or steps or minutes")
        rates = self.lr.values() if isinstance(self.lr, dict) else [self.lr]
        if not rates or min(rates) <= 0:
            raise ValueError("lr must be positive, and name at least one group")
        return self

    def peak(self, group: str) -> float | None:
        """Return the peak learning rate of a group of parameters; ``None`` where the phase freezes the group.

        A group such as ``backbone/1-4`` has that of ``backbone`` where ``lr`` does not name the group itself.
        """
        if not isinstance(self.lr, dict):
            return self.lr
        while group not in self.lr and "/" in group:
            group = group.rpartition("/")[0]
        return self.lr.get(group)


class PseudoFakes(Settings):
    """Shares of a batch's fakes by the way they are made; the shares need not sum to one.

    Attributes:
        self_blend: Self-blended images (Shiohara & Yamasaki 2022, arXiv 2204.08376).
        composite: Faces with parts of another face, which are aligned by landmarks and blended in.
        reconstruct: Real faces that were passed through an autoencoder, whose decoder leaves the traces of generators.
        labelled: Fakes that come with the dataset, each beside a real face of its own group; where there is none, of
            its family, or else of its source.
    """

    self_blend: float = Field(0.4, ge=0)
    composite: float = Field(0.2, ge=0)
    reconstruct: float = Field(0.15, ge=0)
    labelled: float = Field(0.25, ge=0)


class LabelledKind(Settings):
    """Labelled fakes of one kind, such as those of all swappers, which together have one share of the labelled fakes.

    Attributes:
        name: Name of the kind.
        share: Share of the kind, relative to those of the other kinds; within it, the weight of a source is the square
            root of its size.
        sources: Sources of the fakes.
        beside: Sources whose real faces stand beside the fakes of those ``sources`` that have no real ones of their
            own; in validation, too.
    """

    name: str = Field(min_length=1)
    share: float = Field(1.0, ge=0)
    sources: tuple[str, ...] = Field(min_length=1)
    beside: tuple[str, ...] = ()


class Pairs(Settings):
    """Settings by which ``samples="pairs"`` makes fakes from real faces.

    Attributes:
        pseudo: Shares of the families of fakes.
        kinds: Kinds of labelled fakes. Sources that none of them names are one more kind with the share 1. Without
            kinds, all labelled fakes are one.
        visits: Most times that a labelled fake is expected to be drawn in a run. A kind whose fakes would be drawn more
            often gets a smaller share; ``None`` for any number of times. Needs phases of epochs or steps.
        mix: Share of the labelled pairs whose fake gets a part of its real face back, within a smooth mask; fewer of
            them are then learnt by heart.
        match: What the real faces and the fakes of labelled pairs of one source are drawn to agree in, so that it does
            not tell the classes apart: ``sharpness``; or ``shortcuts``, all that
            :mod:`~deepfake_core.data.audit.features` measures. A fake keeps its own original; which of these pairs come
            is then drawn.
        degrade: How strongly pairs are degraded by resizing, coding, blur and noise (``strong``: more often, and down
            to smaller and worse pictures).
        validation: Number of held-out pairs that are made of each family of pseudo-fakes; also the largest number of
            held-out images per source and class.
        autoencoders: Number of autoencoders that make reconstructions, each with another architecture. One of them, or
            two of eight, reconstruct for validation only.
        autoencoder_steps: Training steps of each autoencoder.
        reconstructed: Largest number of real faces that are reconstructed where the loading processes make pairs,
            spread evenly over the data.
        small_until: Share of the run, in steps, that trains on small inputs, which are cheaper (progressive resizing,
            Tan & Le 2021, arXiv 2104.00298); where the clock ends the run, in its time.
        small_size: Side of a small input in pixels.
    """

    pseudo: PseudoFakes = PseudoFakes()
    kinds: tuple[LabelledKind, ...] = ()
    visits: float | None = Field(None, gt=0)
    mix: float = Field(0.0, ge=0, le=1)
    match: Literal["none", "sharpness", "shortcuts"] = "none"
    degrade: Literal["standard", "strong"] = "standard"
    validation: int = Field(500, gt=0)
    autoencoders: int = Field(3, ge=2, le=8)
    autoencoder_steps: int = Field(1500, gt=0)
    reconstructed: int = Field(2000, gt=0)
    small_until: float = Field(0.0, ge=0, lt=1)
    small_size: int = Field(160, gt=0, multiple_of=32)

    @field_validator("kinds", mode="after")
    @classmethod
    def _apart(cls, kinds: tuple[LabelledKind, ...]) -> tuple[LabelledKind, ...]:
        for what, names in (
            ("kind", [kind.name for kind in kinds]),
            ("source", [name for kind in kinds for name in kind.sources]),
        ):
            if repeated := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"the {what} {repeated!r} occurs twice")
        return kinds

    @property
    def beside(self) -> dict[str, tuple[str, ...]]:
        """Sources whose real faces stand beside the fakes of a source that has none."""
        return {name: kind.beside for kind in self.kinds for name in kind.sources}


class Distil(Settings):
    """Settings by which a network learns from a trained one, its teacher (Hinton et al. 2015, arXiv 1503.02531).

    The teacher judges the very pictures of each batch, of a clip each frame. Targets become
    ``(1 - weight)·y + weight·sigmoid(z / temperature)``, with the label ``y`` and the teacher's calibrated logit ``z``.

    Attributes:
        teacher: Name or path of the teacher, as ``deepfake_core.load`` takes it. It needs weights for torch.
        weight: Weight of the teacher's answer; the rest is that of the label.
        temperature: Number that divides the teacher's logit; above 1 it softens its answers.
    """

    teacher: str = Field(min_length=1)
    weight: float = Field(0.7, gt=0, le=1)
    temperature: float = Field(2.0, gt=0)


OF_MACHINE = ("workers", "compile", "compile_backend", "checkpointing")
"""Settings of a recipe that belong to the machine: a resumed run may have others, as it may have another device."""


class TrainRecipe(Settings):
    """Every setting of one training run.

    Attributes:
        phases: Phases of the training, in their order.
        optimizer: Optimiser of every phase; its state starts anew with each phase.
        samples: ``pictures``: the labelled images. ``pairs``: each real face together with a fake that is made from it
            (:class:`Pairs`), beside labelled fakes. ``clips``: sequences of frames, with the length and the stride that
            the detector takes.
        batch_size: Samples per forward pass, over all processes together.
        accumulate: Forward passes per optimiser step; their gradients are averaged.
        grad_clip: Largest norm of all gradients together; 0 never clips. The norm is logged in both cases.
        label_smoothing: Targets become ``y·(1-s) + s/2``.
        ema: Decay of the exponential moving average that is validated and kept; 0 keeps the raw weights.
        precision: Floating-point format of the forward pass. ``auto``: bf16 on a GPU that has it, fp16 on any other
            GPU, fp32 on a CPU.
        channels_last: Whether the network and its images are stored with their channels last.
        compile: Whether to run the network through ``torch.compile``. ``auto``: on a GPU, in phases of 15 minutes or
            more, if a trial at their beginning shows that it is faster. A network that cannot be compiled runs as it
            is.
        compile_backend: Backend of ``torch.compile``.
        checkpointing: Whether to recompute activations in the backward pass, which is slower and takes much less
            memory.
        pretrained: Whether to start from the backbone's public weights.
        seed: Seed for everything that is drawn at random.
        eval_every: Optimiser steps between validations; by default one epoch.
        save_every: Optimiser steps between checkpoints, in addition to the one at every validation.
        monitor: Validation metric that selects the best checkpoint.
        mode: Whether ``monitor`` is better when higher (``max``) or lower (``min``).
        patience: Number of validations in a row, within one phase, without a better ``monitor`` that ends the run;
            ``None`` never ends it.
        balance: Way to give both classes the same weight: by the ``sampler``, which repeats the smaller class, or in
            the ``loss``.
        augment: Name of the augmentation of labelled images
            (:data:`deepfake_core.training.data.augment.POLICIES`).
        augment_on: Place where flips and changes of colour are computed: the loading processes (``host``) or the
            ``device``, which of ``samples="pairs"`` makes all there is to the pictures.
        workers: Processes that make samples; -1 takes every core, 0 makes them in the training process.
        max_bad: Share of unreadable samples in an epoch beyond which training stops.
        data_share: Share of the training data that is used; groups are never divided.
        max_images: Largest number of images that are prepared of each dataset.
        overfit: Number of samples to train and validate on, without augmentation, which shows whether the network can
            learn at all.
        validation_share: Share of each source's groups that is held out where the dataset has no split.
        leave_out: Sources whose samples neither train nor validate.
        allow_shared_identities: Whether a person may appear in training and in validation; protocols that share
            persons need it, such as the official split of Celeb-DF.
        explain: Number of validation samples of which overlays are written at the end.
        shortcut_samples: Number of samples (pairs, or pictures of either class) per source that are drawn before
            training starts, to measure whether anything but forgery tells the classes apart; 0 measures nothing.
        pairs: Settings of ``samples="pairs"``.
        distil: Teacher whose answers are mixed into the targets; by default there is none.
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
    compile: bool | Literal["auto"] = "auto"
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
    leave_out: tuple[str, ...] = ()
    allow_shared_identities: bool = False
    explain: int = Field(20, ge=0)
    shortcut_samples: int = Field(400, ge=0)
    pairs: Pairs = Pairs()
    distil: Distil | None = None

    @field_validator("augment", mode="after")
    @classmethod
    def _renamed(cls, augment: str) -> str:
        if augment not in RENAMED_POLICIES:
            return augment
        name = RENAMED_POLICIES[augment]
        # FutureWarning, and not DeprecationWarning: it is for people who write recipes, and Python shows it to them.
        warnings.warn(f"the augmentation {augment!r} is called {name!r} now; write augment: {name}", FutureWarning, 2)
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.optimizer.sam and (self.accumulate > 1 or self.precision == "fp16"):
            raise ValueError("sam needs accumulate=1 and a precision other than fp16")
        if self.samples == "pairs" and self.batch_size % 2:
            raise ValueError("pairs need an even batch_size")
        if self.pairs.visits and any(phase.minutes is not None for phase in self.phases):
            raise ValueError(
                "pairs.visits needs phases with a length in epochs or steps: how many pairs are drawn in a number of "
                "minutes is not known beforehand"
            )
        return self

    def smoke(self) -> TrainRecipe:
        """Return the same recipe in a size that shows within a minute whether everything works."""
        phases = tuple(phase.model_copy(update={"epochs": None, "minutes": None, "steps": 3}) for phase in self.phases)
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
                "shortcut_samples": min(self.shortcut_samples, 20),
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

"""The resume state: everything that a run needs to go on from a step as if it had never stopped."""

from __future__ import annotations

import logging
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepfake_core.errors import ArtifactCorrupt
from deepfake_core.training.loop.optim import MovingAverage
from deepfake_registry.files import atomic_path

log = logging.getLogger("deepfake.training")


@dataclass
class Progress:
    """The part of the resume state that holds no tensors.

    The order of the samples and all random numbers are functions of the recipe's seed and the step, so they need no
    state of their own.

    Attributes:
        step: Number of optimiser steps taken.
        history: Metrics of each validation.
        best: Metrics of the best validation; empty before the first validation.
        stale: Number of validations in this phase since the best one.
        reduction: Factor of the learning rate that a plateau schedule has reached in this phase.
        waited: Number of validations without improvement that a plateau schedule has counted.
        loss_sum: Sum of the losses since the last validation.
        norm_sum: Sum of the gradient norms since the last validation, without those of steps in which fp16 overflowed.
        norms: Number of steps in ``norm_sum``.
        summed: Number of steps in ``loss_sum``.
        unreadable: Items of the current epoch that could not be read.
        ends: Step after the last one of each phase that has ended.
        images: Number of images, or clips, in the steps taken.
        share: Share of the current phase that is done, from 0 to 1.
        phase_seconds: Time that the current phase has taken, without interruptions.
        seconds: Time that the run has taken, without interruptions.
        closing_seconds: Time of the last validation with its checkpoint; ``None`` before the first one.
        by_clock: Whether the clock had a say in the length of a phase, so that the run cannot be repeated bit by bit.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    reduction: float = 1.0
    waited: int = 0
    loss_sum: float = 0.0
    norm_sum: float = 0.0
    norms: float = 0.0
    summed: int = 0
    unreadable: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    images: int = 0
    share: float = 0.0
    phase_seconds: float = 0.0
    seconds: float = 0.0
    closing_seconds: float | None = None
    by_clock: bool = False


def save(
    path: Path,
    progress: Progress,
    model: nn.Module,
    average: MovingAverage | None,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Write the resume state to ``path``; the file is replaced as a whole or not at all."""
    state = {
        "progress": asdict(progress),
        "model": model.state_dict(),
        "average": average.module.state_dict() if average else None,
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def read(path: Path) -> dict[str, Any]:
    """Read a resume state onto the CPU; only tensors and plain values are unpickled.

    Raises:
        ArtifactCorrupt: The file is damaged or is no resume state.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        Progress(**state["progress"])
    except (RuntimeError, ValueError, OSError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ArtifactCorrupt(
            f"{path}: no readable resume state ({type(error).__name__}); remove the file to train from the start, "
            "or go on from the run's best weights with --start"
        ) from error
    return state


def restore(
    state: dict[str, Any],
    model: nn.Module,
    average: MovingAverage | None,
) -> Progress:
    """Load the weights of a resume state into the model and its moving average, and return the progress.

    Raises:
        ArtifactCorrupt: The weights belong to another network.
    """
    try:
        model.load_state_dict(state["model"])
        if average is not None:  # a run that kept no average before starts it at its present weights
            average.module.load_state_dict(state["average"] or state["model"])
    except RuntimeError as error:
        raise ArtifactCorrupt(f"the resume state is of another network: {str(error).splitlines()[0]}") from error
    # Before overflows were left out, both sums had the same number of steps.
    return Progress(**{"norms": state["progress"]["summed"], **state["progress"]})


def restore_optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
    """Load the state of the optimiser and the scaler.

    Where the state does not fit, the optimiser starts anew, and a warning is logged.
    """
    fresh = optimizer.state_dict()
    try:
        optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            scaler.load_state_dict(state["scaler"])
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        optimizer.load_state_dict(fresh)
        log.warning("the optimiser's state does not fit (%s); going on from the weights alone", error)

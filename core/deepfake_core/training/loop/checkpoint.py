"""Resume state: everything that a run needs to go on from a step as if it had never stopped."""

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
    """Where a run is, besides its tensors.

    The order of the samples and everything drawn at random are functions of the recipe's seed and the step, so
    that they need no state of their own.

    Attributes:
        step: Optimiser steps done.
        history: One row per validation.
        best: The row of the best validation; empty before the first.
        stale: Validations since then.
        reduction: Factor that a plateau schedule has come to in this phase.
        waited: Validations without a better metric that a plateau schedule has counted.
        loss_sum: Sum of the losses since the last validation.
        norm_sum: Likewise of the gradient norms.
        summed: Number of steps in these sums.
        unreadable: Items of the current epoch that could not be read.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    reduction: float = 1.0
    waited: int = 0
    loss_sum: float = 0.0
    norm_sum: float = 0.0
    summed: int = 0
    unreadable: list[int] = field(default_factory=list)


def save(
    path: Path,
    progress: Progress,
    model: nn.Module,
    average: MovingAverage | None,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Write the resume state, whole or not at all."""
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
    """Read what :func:`save` wrote, on the CPU; nothing but tensors and plain values is unpickled.

    Raises:
        ArtifactCorrupt: The file is damaged or is something else.
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
    """Give model and average their weights of the checkpoint.

    Raises:
        ArtifactCorrupt: They are of another network.
    """
    try:
        model.load_state_dict(state["model"])
        if average is not None:  # a run that kept none so far begins it at the weights that it has come to
            average.module.load_state_dict(state["average"] or state["model"])
    except RuntimeError as error:
        raise ArtifactCorrupt(f"the resume state is of another network: {str(error).splitlines()[0]}") from error
    return Progress(**state["progress"])


def restore_optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
    """Give the optimiser its state; one that does not fit is left out with a warning, and the weights stand alone."""
    fresh = optimizer.state_dict()
    try:
        optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            scaler.load_state_dict(state["scaler"])
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        optimizer.load_state_dict(fresh)
        log.warning("the optimiser's state does not fit (%s); going on from the weights alone", error)

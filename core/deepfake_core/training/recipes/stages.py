"""The phases of a recipe as parts of a run: the length of each, by steps or by the clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepfake_core.contract.recipe import Phase, TrainRecipe


@dataclass(frozen=True)
class Stage:
    """A phase with its length.

    Attributes:
        phase: Phase of the recipe.
        steps: Number of its optimiser steps; ``None`` where the clock ends it.
        seconds: Its time in s; ``None`` where its steps end it.
        share: Share of the run that it takes: of its steps or of its time, or an equal share where the phases of the
            recipe have lengths of both kinds, which cannot be compared beforehand.
    """

    phase: Phase
    steps: int | None
    seconds: float | None
    share: float


def plan(recipe: TrainRecipe, steps_per_epoch: int) -> tuple[Stage, ...]:
    """Return the phases of a recipe in their order, each with its length."""
    steps = [phase.steps if phase.epochs is None else phase.epochs * steps_per_epoch for phase in recipe.phases]
    seconds = [phase.minutes * 60 if phase.minutes is not None else None for phase in recipe.phases]
    lengths = steps if None not in steps else seconds if None not in seconds else [1.0] * len(steps)
    total = sum(length or 0.0 for length in lengths)
    return tuple(
        Stage(phase, step, second, (length or 0.0) / total)
        for phase, step, second, length in zip(recipe.phases, steps, seconds, lengths, strict=True)
    )


def small_steps(recipe: TrainRecipe, steps_per_epoch: int) -> float:
    """Return the number of the first step whose inputs have their full size, as ``pairs.small_until`` says.

    It is ``inf`` where the clock ends a phase: then the training loop says when that step has come, by ``Feed.grow``.
    """
    if not recipe.pairs.small_until:
        return 0.0
    steps = total_steps(recipe, steps_per_epoch)
    return math.inf if steps is None else round(recipe.pairs.small_until * steps)


def total_steps(recipe: TrainRecipe, steps_per_epoch: int) -> int | None:
    """Return the number of optimiser steps of a run; ``None`` where the clock ends a phase."""
    steps = [stage.steps for stage in plan(recipe, steps_per_epoch)]
    return None if None in steps else sum(step or 0 for step in steps)


def pairs_of_run(recipe: TrainRecipe, real: int) -> int | None:
    """Return about how many pairs a run draws; ``None`` where the clock ends a phase.

    Args:
        recipe: Recipe with ``samples="pairs"``.
        real: Number of real faces, which is the number of pairs of an epoch.
    """
    pairs = recipe.batch_size // 2
    steps = total_steps(recipe, -(-real // (pairs * recipe.accumulate)))
    return None if steps is None else steps * pairs * recipe.accumulate

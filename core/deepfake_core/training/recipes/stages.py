"""The phases of a recipe as ranges of optimiser steps."""

from __future__ import annotations

from dataclasses import dataclass

from deepfake_core.contract.recipe import Phase, TrainRecipe


@dataclass(frozen=True)
class Stage:
    """A phase with its place in the run.

    Attributes:
        phase: Phase of the recipe.
        first: Number of its first optimiser step, counted from 0 over the whole run.
        last: Number of the first optimiser step after it.
    """

    phase: Phase
    first: int
    last: int


def plan(recipe: TrainRecipe, steps_per_epoch: int) -> tuple[Stage, ...]:
    """Return the phases of a recipe in their order, each with its range of optimiser steps."""
    stages: list[Stage] = []
    for phase in recipe.phases:
        first = stages[-1].last if stages else 0
        length = phase.steps if phase.steps is not None else (phase.epochs or 0) * steps_per_epoch
        stages.append(Stage(phase, first, first + length))
    return tuple(stages)

"""What the validations of a run say about its recipe: why its best model may be poor, and what to try."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from deepfake_core.contract.recipe import LENGTHS, TrainRecipe

POOR_AUC = 0.7
"""AUC on the validation data below which a word is said."""

TRIAL_STEPS = 20
"""Number of optimiser steps below which a run only shows that everything works."""

FEW_SAMPLES = 200
"""Number of validation samples below which an AUC is uncertain by several hundredths."""


def advice(history: Sequence[Mapping[str, float]], recipe: TrainRecipe, samples: int | None = None) -> tuple[str, ...]:
    """Return sentences about a best validation that is poor, or that came first; none where there is nothing to say.

    Args:
        history: Metrics of each validation.
        recipe: Recipe of the run.
        samples: Number of validation samples, if it is known.
    """
    monitor, sign = recipe.monitor, 1 if recipe.mode == "max" else -1
    rows = [row for row in history if math.isfinite(row.get(monitor, math.nan))]
    if not rows or recipe.overfit:
        return ()
    if rows[-1]["step"] < TRIAL_STEPS:
        return (f"after {rows[-1]['step']:g} steps the weights are worthless: such a run shows that everything works",)
    best = max(rows, key=lambda row: sign * row[monitor])  # of equal ones the first, as training takes it
    said = []
    auc = best.get("auc", best[monitor] if monitor.startswith("auc") else math.nan)
    if auc < POOR_AUC:
        few = f", on {samples} samples, which are few" if samples is not None and samples < FEW_SAMPLES else ""
        said.append(
            f"the AUC of the best validation is {auc:.2f}, where 0.5 is chance{few}: {_cause(rows, best, recipe)}"
        )
    if best is rows[0] and len(rows) > 1:
        rate = recipe.phases[0].lr
        lower = min(rate.values()) / 10 if isinstance(rate, dict) else rate / 10
        key = f"phases.0.lr.{min(rate, key=rate.__getitem__)}" if isinstance(rate, dict) else "phases.0.lr"
        said.append(
            f"the first of {len(rows)} validations is the best, so that the later steps did harm: the learning rate is "
            f"too high, or the network learns the training pictures by heart; try --set {key}={lower:g}, --set "
            "eval_every=STEPS to validate more often, or more pictures"
        )
    return tuple(said)


def _cause(rows: Sequence[Mapping[str, float]], best: Mapping[str, float], recipe: TrainRecipe) -> str:
    """Return the likely cause of a poor AUC, and what to try."""
    if best.get("auc", 1.0) < 0.4:
        return "it ranks the wrong way round; see whether labels are swapped: dfbench data check"
    if best is rows[-1] and len(rows) > 1:
        phase = recipe.phases[-1]
        longer = next(f"{name}={2 * length:g}" for name in LENGTHS if (length := getattr(phase, name)) is not None)
        return f"it was still rising at the end; train longer: --set phases.{len(recipe.phases) - 1}.{longer}"
    learns = "" if recipe.samples == "pairs" else "see whether the network can learn them at all: --overfit 16; "
    return (
        f"the training pictures are too few, or unlike those of validation; {learns}check them by dfbench data check, "
        "and add pictures and sources"
    )

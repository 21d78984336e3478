"""Search for better settings with Optuna: every trial trains and validates on the same data.

A search can be killed at any moment. When it is started again, it keeps the finished trials and goes on with the
interrupted one from its last checkpoint. What it tries next depends only on its seed and on the trials so far, not on
interruptions.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError, MissingExtra, TrainingDataError
from deepfake_core.training.recipes.changes import changed, split_changes
from deepfake_core.training.recipes.space import Dimension, as_change, count_points
from deepfake_core.training.recipes.yaml_files import to_yaml
from deepfake_core.training.runs.files import read_history
from deepfake_core.training.study import (
    Pruner,
    count_finished,
    end_failed,
    next_trial,
    open_study,
    requeue_interrupted,
    superseded_trials,
    tried_points,
)
from deepfake_registry.files import write_atomic

if TYPE_CHECKING:
    import optuna

log = logging.getLogger("deepfake.tune")

OnValidation = Callable[[int, Mapping[str, float]], None]
"""Function that is called with the step and the metrics of each validation; what it raises ends the training."""

MAX_FAILURES = 3
"""Number of successive failed trials that ends the search, because the settings are then not the cause."""


class Pruned(Exception):
    """Raised at a validation to end a weak trial."""


class Train(Protocol):
    """A function that trains once."""

    def __call__(
        self, recipe: TrainRecipe, config: Sequence[str], run_dir: Path, /, *, resume: bool, on_validation: OnValidation
    ) -> object:
        """Train once.

        Args:
            recipe: Recipe of the trial.
            config: Changes ``key=value`` of the detector's hyper-parameters.
            run_dir: Folder of the trial's run.
            resume: Whether to go on with the run that the folder holds.
            on_validation: Function to call after each validation.
        """


@dataclass(frozen=True)
class Search:
    """A search.

    Attributes:
        recipe: Recipe that every trial starts from; its ``monitor`` and ``mode`` decide which trial is best.
        space: Settings that trials vary.
        identity: Further values that must be the same for trials to be comparable, such as the data: name → value.
        trials: Number of finished trials that are wanted in all, including those of earlier calls.
        pruner: Rule that ends weak trials early.
        timeout_s: Time after which no trial starts, in seconds; ``None`` for no limit.
        seed: Seed for the suggested settings.
    """

    recipe: TrainRecipe
    space: tuple[Dimension, ...]
    identity: Mapping[str, str] = field(default_factory=dict)
    trials: int = 20
    pruner: Pruner = "median"
    timeout_s: float | None = None
    seed: int = 0

    @property
    def comparable(self) -> dict[str, Any]:
        """Everything that must be the same for trials to be comparable, in plain values."""
        return {
            **self.identity,
            "recipe": self.recipe.model_dump(mode="json"),
            "space": [[d.key, d.kind, d.low, d.high, list(d.choices)] for d in self.space],
            "seed": self.seed,
        }


@dataclass(frozen=True)
class TrialResult:
    """The result of one trial.

    Attributes:
        number: Number of the trial, counted from 0.
        state: ``complete``, ``pruned`` or ``fail``.
        value: Best value of ``monitor`` at its validations; ``None`` where there was none.
        changes: Changes of the recipe and the hyper-parameters, as ``--set`` takes them.
        run_dir: Folder of the trial's run.
        reason: Why the trial failed; empty where it did not.
    """

    number: int
    state: str
    value: float | None
    changes: tuple[str, ...]
    run_dir: Path
    reason: str = ""


def tune(
    train: Train,
    search: Search,
    folder: Path,
    study_file: Path | None = None,
    on_start: Callable[[], object] = lambda: None,
) -> list[TrialResult]:
    """Search until the wanted number of trials is finished.

    Args:
        train: Function that trains once.
        search: The search.
        folder: Folder that takes one run directory for each trial, and the best recipe as ``best.yaml``.
        study_file: SQLite file of the study; by default ``folder/study.db``.
        on_start: Function that is called once everything was checked, before the first trial.

    Returns:
        The results of all trials, the best one first.

    Raises:
        MissingExtra: Optuna is not installed.
        DeepfakeError: A setting does not exist, the study belongs to another search or is in use, or trials keep
            failing.
    """
    for dimension in search.space:
        for value in dimension.ends:
            of_recipe, _ = split_changes([as_change(dimension.key, value)])
            changed(search.recipe, of_recipe, "--space")
    folder.mkdir(parents=True, exist_ok=True)
    with open_study(study_file or folder / "study.db", search.recipe.mode, search.pruner, search.comparable) as study:
        on_start()
        requeue_interrupted(study)
        started, failures = time.monotonic(), 0
        while (finished := count_finished(study)) < search.trials:
            if search.timeout_s is not None and time.monotonic() - started > search.timeout_s:
                log.info("time is up after %d of %d trials", finished, search.trials)
                break
            if (tried := len(tried_points(study))) >= count_points(search.space):
                log.info("all %d points of the space were tried; for more trials, give --space more values", tried)
                break
            reason = _run_trial(train, search, folder, study)
            failures = failures + 1 if reason else 0
            if failures == MAX_FAILURES:
                raise DeepfakeError(f"{failures} trials in a row failed, the last one with: {reason}")
            _write_best(study, search, folder)
        return _ranked(study, search, folder)


def _run_trial(train: Train, search: Search, folder: Path, study: optuna.Study) -> str:
    """Run one trial, and return why it failed; empty where it did not.

    Raises:
        MissingExtra: A package that training needs is not installed, which no settings would change.
        TrainingDataError: The data cannot be trained on, which no settings would change.
    """
    from optuna.trial import TrialState

    trial = next_trial(study, search.space, search.seed)
    changes = [as_change(dimension.key, dimension.suggest(trial)) for dimension in search.space]
    run_dir = folder / trial.user_attrs.get("run_dir", f"trial-{trial.number:04d}")
    trial.set_user_attr("run_dir", run_dir.name)
    log.info("trial %d: %s", trial.number, " ".join(changes))
    resume = "retry_of" in trial.user_attrs and run_dir.is_dir() and any(run_dir.iterdir())
    monitor = _TrialMonitor(trial, search.recipe)
    reason, pruned = "", False
    try:
        for row in read_history(run_dir) if resume else ():
            monitor(int(row["step"]), row)
        of_recipe, of_detector = split_changes(changes)
        recipe = changed(search.recipe, of_recipe, f"trial {trial.number}")
        train(recipe, of_detector, run_dir, resume=resume, on_validation=monitor)
    except Pruned:
        pruned = True
    except (MissingExtra, TrainingDataError) as error:
        end_failed(study, trial, str(error))
        raise
    except DeepfakeError as error:
        reason = str(error)
    if pruned:
        study.tell(trial, state=TrialState.PRUNED)
        (run_dir / "last.pt").unlink(missing_ok=True)  # a pruned trial never goes on
    elif reason or monitor.best is None:
        reason = reason or f"no validation measured a finite {search.recipe.monitor}"
        end_failed(study, trial, reason)
        return reason
    else:
        study.tell(trial, monitor.best)
    outcome = "pruned at" if pruned else "reached"
    log.info("trial %d: %s %s=%s", trial.number, outcome, search.recipe.monitor, monitor.best)
    return ""


class _TrialMonitor:
    """Reports the validations of one trial to the pruner, and keeps the best value.

    Validations are numbered by their order, because steps mean different things at different batch sizes.
    """

    def __init__(self, trial: optuna.Trial, recipe: TrainRecipe) -> None:
        self.trial, self.recipe = trial, recipe
        self.count, self.last_step = 0, 0
        self.best: float | None = None

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        if step <= self.last_step:
            return  # the run was interrupted after this validation was written and before its checkpoint was
        if self.recipe.monitor not in metrics:
            names = ", ".join(sorted(metrics))
            raise DeepfakeError(f"monitor={self.recipe.monitor!r} is not measured; choose one of {names}")
        value = float(metrics[self.recipe.monitor])
        self.count, self.last_step = self.count + 1, step
        self.best = _best([value] if self.best is None else [value, self.best], self.recipe)
        self.trial.report(value, self.count)
        if self.trial.should_prune():
            raise Pruned(f"the search pruned trial {self.trial.number}")


def _best(values: Iterable[float], recipe: TrainRecipe) -> float | None:
    """Return the best finite value; ``None`` where there is none."""
    return (max if recipe.mode == "max" else min)(filter(math.isfinite, values), default=None)


def _ranked(study: optuna.Study, search: Search, folder: Path) -> list[TrialResult]:
    """Return the results of all trials that have ended: complete ones first, and the best of them at the top.

    A trial that was interrupted and went on appears once, under its last number.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    superseded = superseded_trials(trials)
    found = [
        TrialResult(
            number=trial.number,
            state=trial.state.name.lower(),
            value=_best(trial.intermediate_values.values(), search.recipe),
            changes=tuple(as_change(key, value) for key, value in trial.params.items()),
            run_dir=folder / trial.user_attrs.get("run_dir", ""),
            reason=trial.user_attrs.get("reason", "its process died" if trial.state == TrialState.FAIL else ""),
        )
        for trial in trials
        if trial.state.is_finished() and trial.number not in superseded
    ]
    sign = -1 if search.recipe.mode == "max" else 1
    order = {"complete": 0, "pruned": 1, "fail": 2}
    return sorted(found, key=lambda t: (order[t.state], math.inf if t.value is None else sign * t.value, t.number))


def _write_best(study: optuna.Study, search: Search, folder: Path) -> None:
    """Write the recipe of the best complete trial, as ``dfbench train --recipe`` takes it."""
    best = next((trial for trial in _ranked(study, search, folder) if trial.state == "complete"), None)
    if best is None:
        return
    of_recipe, of_detector = split_changes(best.changes)
    settings = [f"# trained with --set config.{change}" for change in of_detector]
    head = [f"# {best.run_dir.name}: {search.recipe.monitor} {best.value}", *settings]
    write_atomic(folder / "best.yaml", "\n".join([*head, to_yaml(changed(search.recipe, of_recipe))]))

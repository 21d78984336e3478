"""Search for better settings, by Optuna: every trial trains and is judged on the same data (001-25).

A study is an SQLite file, and can be killed at any moment: started again, it keeps the trials that were finished and
goes on with the one that was running, from its last checkpoint. What it will try next depends on its seed and on the
trials so far alone, and not on interruptions.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError, MissingExtra, TrainingDataError
from deepfake_core.training.recipes.changes import changed, split_changes
from deepfake_core.training.recipes.space import Dimension, as_change
from deepfake_core.training.recipes.yaml_files import to_yaml
from deepfake_core.training.runs.files import read_history
from deepfake_core.training.runs.locks import locked
from deepfake_registry.files import write_atomic

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

log = logging.getLogger("deepfake.tune")

Pruner = Literal["median", "hyperband", "none"]
OnValidation = Callable[[int, Mapping[str, float]], None]

RETRIES = 2
"""Times that a trial is begun anew after its process died; one that brings the process down is given up then."""
FAILURES = 3
"""Trials in a row that fail and end the search: then it is not the settings."""


class Pruned(Exception):
    """Raised at a validation: the trial is weak, and nothing more is to be done for it."""


class Train(Protocol):
    """Trains once; ``on_validation`` gets each validation's step and metrics, and what it raises ends the training."""

    def __call__(
        self, recipe: TrainRecipe, config: Sequence[str], run_dir: Path, /, *, resume: bool, on_validation: OnValidation
    ) -> object:
        """Train by ``recipe``, with changes of the detector's hyper-parameters ``config``, into ``run_dir``."""


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        recipe: Where every trial starts from; its ``monitor`` and ``mode`` decide which trial is best.
        space: What trials vary.
        identity: What else must be the same for trials to be comparable, such as the data: name → value.
        trials: Finished trials that are wanted in all, those of earlier calls included.
        pruner: ``median``: stop a trial that is below the median of the others at the same validation; ``hyperband``
            (Li et al. 2018); ``none``.
        timeout_s: No trial starts after that many seconds.
        seed: Of what is tried.
    """

    recipe: TrainRecipe
    space: tuple[Dimension, ...]
    identity: Mapping[str, str] = field(default_factory=dict)
    trials: int = 20
    pruner: Pruner = "median"
    timeout_s: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Tried:
    """One trial of a study.

    Attributes:
        number: From 0.
        state: ``complete``, ``pruned`` or ``fail``.
        value: Best ``monitor`` of its validations; ``None`` where there was none.
        changes: What it changed, as ``--set`` takes it.
        run_dir: Its run.
        reason: Why it failed, where it did.
    """

    number: int
    state: str
    value: float | None
    changes: tuple[str, ...]
    run_dir: Path
    reason: str = ""


def tune(train: Train, search: Search, folder: Path, study_file: Path | None = None) -> list[Tried]:
    """Search until as many trials are finished as are wanted.

    Args:
        train: Trains once.
        search: What is searched, and how.
        folder: Takes one run directory per trial, and the best recipe as ``best.yaml``.
        study_file: The study's SQLite file; by default ``folder/study.db``.

    Returns:
        Every trial, the best one first.

    Raises:
        MissingExtra: Optuna is not installed.
        DeepfakeError: A setting does not exist, the study is of another search or in use, or trials keep failing.
    """
    for dimension in search.space:
        for value in dimension.ends:
            of_recipe, _ = split_changes([as_change(dimension.key, value)])
            changed(search.recipe, of_recipe, "--space")
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(search, study_file or folder / "study.db") as study:
        _pick_up(study)
        started, failures = time.monotonic(), 0
        while (finished := _finished(study)) < search.trials:
            if search.timeout_s is not None and time.monotonic() - started > search.timeout_s:
                log.info("time is up after %d of %d trials", finished, search.trials)
                break
            reason = _try(train, search, folder, study)
            failures = failures + 1 if reason else 0
            if failures == FAILURES:
                raise DeepfakeError(f"{failures} trials in a row failed, the last one with: {reason}")
            _write_best(study, search, folder)
        return _ranked(study, search, folder)


def _try(train: Train, search: Search, folder: Path, study: optuna.Study) -> str:
    """One trial, from asking for settings to telling what came of them; why it failed, or nothing.

    Raises:
        MissingExtra: What training needs is not installed; also the next: no settings would help.
        TrainingDataError: The data cannot be trained on.
    """
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    study.sampler = TPESampler(seed=10_000 * search.seed + _counted(study))
    trial = study.ask()
    changes = [as_change(dimension.key, dimension.suggest(trial)) for dimension in search.space]
    run_dir = folder / trial.user_attrs.get("run_dir", f"trial-{trial.number:04d}")
    trial.set_user_attr("run_dir", run_dir.name)
    log.info("trial %d: %s", trial.number, " ".join(changes))
    resume = "retry_of" in trial.user_attrs and run_dir.is_dir() and any(run_dir.iterdir())
    watch = _Watch(trial, search.recipe)
    reason, pruned = "", False
    try:
        for row in read_history(run_dir) if resume else ():
            watch(int(row["step"]), row)
        of_recipe, of_detector = split_changes(changes)
        recipe = changed(search.recipe, of_recipe, f"trial {trial.number}")
        train(recipe, of_detector, run_dir, resume=resume, on_validation=watch)
    except Pruned:
        pruned = True
    except (MissingExtra, TrainingDataError) as error:
        _fail(study, trial, str(error))
        raise
    except DeepfakeError as error:
        reason = str(error)
    if pruned:
        study.tell(trial, state=TrialState.PRUNED)
        (run_dir / "last.pt").unlink(missing_ok=True)  # nobody goes on with it
    elif reason or watch.best is None:
        reason = reason or f"no validation measured a finite {search.recipe.monitor}"
        _fail(study, trial, reason)
        return reason
    else:
        study.tell(trial, watch.best)
    outcome = "pruned at" if pruned else "reached"
    log.info("trial %d: %s %s=%s", trial.number, outcome, search.recipe.monitor, watch.best)
    return ""


def _fail(study: optuna.Study, trial: optuna.Trial, reason: str) -> None:
    from optuna.trial import TrialState

    log.warning("trial %d failed: %s", trial.number, reason)
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.FAIL)


class _Watch:
    """Follows one trial's validations: reports them to the pruner and remembers the best.

    Validations count by their order, not by their steps, which mean different things at different batch sizes.
    """

    def __init__(self, trial: optuna.Trial, recipe: TrainRecipe) -> None:
        self.trial, self.recipe = trial, recipe
        self.count, self.last_step = 0, 0
        self.best: float | None = None

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        if step <= self.last_step:
            return  # the run was cut off between noting this validation and saving its state
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
    """The best finite value; ``None`` where there is none."""
    return (max if recipe.mode == "max" else min)(filter(math.isfinite, values), default=None)


@contextmanager
def _opened(search: Search, file: Path) -> Iterator[optuna.Study]:
    """The study in a file, for this process alone."""
    try:
        import optuna
        from sqlalchemy.exc import DatabaseError
    except ModuleNotFoundError as error:
        raise MissingExtra("a search", "deepfake-core[tune]") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file.parent.mkdir(parents=True, exist_ok=True)
    busy = f"{file}: another process searches with this study; wait for it or name another"
    lock = locked(file.with_name(f".{file.name}.lock"), busy, 0.0)
    storage = None
    try:
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{file.absolute()}")
            study = optuna.create_study(
                storage=storage,
                study_name="search",
                direction="maximize" if search.recipe.mode == "max" else "minimize",
                load_if_exists=True,
                pruner=_pruner(search.pruner),
            )
        except DatabaseError as error:
            raise DeepfakeError(f"{file}: is no study ({error.orig}); name another --study") from error
        _check_identity(study, search, file)
        yield study
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()
        lock.release()


def _pruner(name: Pruner) -> optuna.pruners.BasePruner:
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    return optuna.pruners.HyperbandPruner() if name == "hyperband" else optuna.pruners.NopPruner()


def _check_identity(study: optuna.Study, search: Search, file: Path) -> None:
    """Trials of other data, or around another recipe, must not be mixed with these."""
    identity: dict[str, Any] = {
        **search.identity,
        "recipe": search.recipe.model_dump(mode="json"),
        "space": [[d.key, d.kind, d.low, d.high, list(d.choices)] for d in search.space],
        "seed": search.seed,
    }
    before = study.user_attrs.get("identity")
    if before is None:
        study.set_user_attr("identity", identity)
        return
    now = json.loads(json.dumps(identity))
    if other := [key for key in {**before, **now} if before.get(key) != now.get(key)]:
        raise DeepfakeError(
            f"{file}: is a study with another {' and another '.join(other)}, whose trials cannot be compared with "
            "these; name another --study"
        )


def _pick_up(study: optuna.Study) -> None:
    """Trials that were running when their process died are failed, and will be gone on with."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    again = _given_up(trials)
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        attempt = trial.user_attrs.get("attempt", 0) + 1
        # First the new one, then the end of the old one: a kill between the two loses nothing.
        if trial.number not in again and attempt <= RETRIES:
            run_dir = trial.user_attrs.get("run_dir", f"trial-{trial.number:04d}")
            attributes = {"run_dir": run_dir, "retry_of": trial.number, "attempt": attempt}
            study.enqueue_trial(trial.params, user_attrs=attributes)
            log.info("trial %d was cut off, and is gone on with", trial.number)
        study.tell(trial.number, state=TrialState.FAIL)


def _given_up(trials: Iterable[FrozenTrial]) -> set[int]:
    """Numbers of the trials that were cut off and went on under another number."""
    return {trial.user_attrs["retry_of"] for trial in trials if "retry_of" in trial.user_attrs}


def _counted(study: optuna.Study) -> int:
    """Trials so far, each once, however often it was cut off: what is tried next must not depend on that."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    again = _given_up(trials)
    return sum(trial.state != TrialState.WAITING and trial.number not in again for trial in trials)


def _finished(study: optuna.Study) -> int:
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def _ranked(study: optuna.Study, search: Search, folder: Path) -> list[Tried]:
    """Every trial that has ended, under its last number: complete ones first, from the best on."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    again = _given_up(trials)
    found = [
        Tried(
            number=trial.number,
            state=trial.state.name.lower(),
            value=_best(trial.intermediate_values.values(), search.recipe),
            changes=tuple(as_change(key, value) for key, value in trial.params.items()),
            run_dir=folder / trial.user_attrs.get("run_dir", ""),
            reason=trial.user_attrs.get("reason", "its process died" if trial.state == TrialState.FAIL else ""),
        )
        for trial in trials
        if trial.state.is_finished() and trial.number not in again
    ]
    sign = -1 if search.recipe.mode == "max" else 1
    order = {"complete": 0, "pruned": 1, "fail": 2}
    return sorted(found, key=lambda t: (order[t.state], math.inf if t.value is None else sign * t.value, t.number))


def _write_best(study: optuna.Study, search: Search, folder: Path) -> None:
    """The best complete trial's recipe, as ``dfbench train --recipe`` takes it."""
    best = next((trial for trial in _ranked(study, search, folder) if trial.state == "complete"), None)
    if best is None:
        return
    of_recipe, of_detector = split_changes(best.changes)
    settings = [f"# trained with --set config.{change}" for change in of_detector]
    head = [f"# {best.run_dir.name}: {search.recipe.monitor} {best.value}", *settings]
    write_atomic(folder / "best.yaml", "\n".join([*head, to_yaml(changed(search.recipe, of_recipe))]))

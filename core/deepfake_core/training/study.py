"""The study of a search: an SQLite file of Optuna that one process uses at a time and that survives a kill.

A trial whose process died goes on under a new number, so that one setting may have several trials in the study.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deepfake_core.errors import DeepfakeError
from deepfake_core.locks import locked
from deepfake_core.training.checks import check_optuna

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from deepfake_core.training.recipes.space import Dimension

log = logging.getLogger("deepfake.tune")

Pruner = Literal["median", "hyperband", "none"]
"""What ends weak trials early.

``median`` ends a trial that is below the median of the others at the same validation; ``hyperband`` is that of Li et
al. 2018 (arXiv 1603.06560); ``none`` ends no trial.
"""

RETRIES = 2
"""How often a trial is started again after its process died; after that it may be the cause, and is given up."""


@contextmanager
def open_study(
    file: Path, mode: Literal["max", "min"], pruner: Pruner, identity: Mapping[str, Any]
) -> Iterator[optuna.Study]:
    """Within the block, hold the study in a file for this process alone; the file is made when it does not exist.

    Args:
        file: SQLite file of the study.
        mode: Whether the metric is better when higher (``max``) or lower (``min``).
        pruner: Rule that ends weak trials early.
        identity: Plain values that must be the same for trials to be comparable, such as the data and the recipe.

    Raises:
        MissingExtra: Optuna is not installed.
        DeepfakeError: Another process uses the study, the file is no study, or its identity differs.
    """
    check_optuna()
    import optuna
    from sqlalchemy.exc import DatabaseError

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
                direction="maximize" if mode == "max" else "minimize",
                load_if_exists=True,
                pruner=_pruner(pruner),
            )
        except DatabaseError as error:
            raise DeepfakeError(f"{file}: is no study ({error.orig}); name another --study") from error
        _check_identity(study, identity, file)
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


def _check_identity(study: optuna.Study, identity: Mapping[str, Any], file: Path) -> None:
    """Refuse to add trials to a study whose trials cannot be compared with them."""
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


def requeue_interrupted(study: optuna.Study) -> None:
    """Mark the trials whose process died as failed, and queue their settings to go on with."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    superseded = superseded_trials(trials)
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        attempt = trial.user_attrs.get("attempt", 0) + 1
        # The new trial is queued before the old one ends, so that a kill between the two loses nothing.
        if trial.number not in superseded and attempt <= RETRIES:
            run_dir = trial.user_attrs.get("run_dir", f"trial-{trial.number:04d}")
            attributes = {"run_dir": run_dir, "retry_of": trial.number, "attempt": attempt}
            study.enqueue_trial(trial.params, user_attrs=attributes)
            log.info("trial %d was interrupted, and goes on under a new number", trial.number)
        study.tell(trial.number, state=TrialState.FAIL)


def superseded_trials(trials: Iterable[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that were interrupted and went on under another number."""
    return {trial.user_attrs["retry_of"] for trial in trials if "retry_of" in trial.user_attrs}


def count_trials(study: optuna.Study) -> int:
    """Return the number of trials so far, where an interrupted trial and its continuation count as one.

    The settings of the next trial depend on this number, and must not depend on interruptions.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    superseded = superseded_trials(trials)
    return sum(trial.state != TrialState.WAITING and trial.number not in superseded for trial in trials)


def tried_points(study: optuna.Study) -> set[str]:
    """Return the settings of all trials that have ended and do not go on, as text."""
    trials = study.get_trials(deepcopy=False)
    superseded = superseded_trials(trials)
    return {_point(trial.params) for trial in trials if trial.state.is_finished() and trial.number not in superseded}


def next_trial(study: optuna.Study, space: Sequence[Dimension], seed: int) -> optuna.Trial:
    """Begin the next trial, at a point that no earlier trial has tried.

    An interrupted trial that is queued goes first. The choice depends only on the seed and on the trials so far.

    Args:
        study: The study.
        space: Settings that trials vary; not all of their points have been tried.
        seed: Seed of the search.
    """
    import optuna
    from optuna.trial import TrialState

    if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        tried = tried_points(study)
        drawn = 10_000 * seed + count_trials(study)
        # Asked of a copy: a trial of the study could not be taken back.
        copy = optuna.create_study(direction=study.direction, sampler=optuna.samplers.TPESampler(seed=drawn))
        copy.add_trials([trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()])
        trial = copy.ask()
        point = {dimension.key: dimension.suggest(trial) for dimension in space}
        if _point(point) in tried:
            point = _untried(space, tried, np.random.default_rng(drawn))
        study.enqueue_trial(point)
    return study.ask()


def _untried(space: Sequence[Dimension], tried: Container[str], rng: np.random.Generator) -> dict[str, Any]:
    """Draw a point that has not been tried; there is one."""
    while True:
        point = {
            d.key: float(rng.uniform(d.low, d.high)) if d.values is None else d.values[int(rng.integers(len(d.values)))]
            for d in space
        }
        if _point(point) not in tried:
            return point


def _point(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def count_finished(study: optuna.Study) -> int:
    """Return the number of trials that are complete or were pruned."""
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def end_failed(study: optuna.Study, trial: optuna.Trial, reason: str) -> None:
    """End a trial as failed, and store the reason."""
    from optuna.trial import TrialState

    log.warning("trial %d failed: %s", trial.number, reason)
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.FAIL)

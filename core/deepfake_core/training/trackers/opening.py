"""Trackers by what users type: ``--track tensorboard``, ``mlflow:URI`` or ``wandb:PROJECT``."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.training.runs.rundir import RunDir
from deepfake_core.training.trackers.base import IDS, Tracker
from deepfake_core.training.trackers.guarded import Trackers
from deepfake_core.training.trackers.mlflow import MLflow
from deepfake_core.training.trackers.tensorboard import TensorBoard
from deepfake_core.training.trackers.wandb import WandB
from deepfake_registry.errors import refuse_missing


def open_trackers(specs: Sequence[str], run: RunDir) -> Trackers:
    """Return the trackers that a user names.

    Args:
        specs: ``tensorboard``; ``mlflow``, ``mlflow:URI`` or ``mlflow:URI?experiment=NAME``; ``wandb:PROJECT`` or
            ``wandb:ENTITY/PROJECT``.
        run: Folder of the run. A process that does not write to it tracks nothing.

    Raises:
        DeepfakeError: There is no such tracker, or its settings are incomplete.
        MissingExtra: A package that the tracker needs is not installed.
    """
    return Trackers(_trackers(specs, run) if run.writes else {})


def check_trackers(specs: Sequence[str]) -> None:
    """Refuse trackers that cannot be used, before there is a run.

    Raises:
        DeepfakeError: There is no such tracker, or its settings are incomplete.
        MissingExtra: Packages that trackers need are not installed.
    """
    _trackers(specs, RunDir(".", writes=False))  # making them writes nothing


def _trackers(specs: Sequence[str], run: RunDir) -> dict[str, Tracker]:
    found: dict[str, Tracker] = {}
    missing: list[MissingExtra] = []
    for spec in specs:
        kind = spec.partition(":")[0]
        if kind in found:
            raise DeepfakeError(f"--track {spec}: {kind} is named twice; keep one")
        try:
            found[kind] = _tracker(spec, run)
        except MissingExtra as error:
            missing.append(error)
    refuse_missing(missing)
    return found


def _tracker(spec: str, run: RunDir) -> Tracker:
    kind, _, rest = spec.partition(":")
    name = run.folder.resolve().name
    if kind == "tensorboard" and not rest:
        return TensorBoard(run.tensorboard)
    if kind == "mlflow":
        uri, _, query = rest.partition("?")
        options = dict(parse_qsl(query))
        experiment = options.pop("experiment", "deepfake")
        if options:
            raise DeepfakeError(f"--track {spec}: unknown option {min(options)!r}; there is experiment=NAME")
        return MLflow(uri or None, experiment, name, run.folder / IDS)
    if kind == "wandb":
        if not rest:
            raise DeepfakeError(f"--track {spec}: names no project; write wandb:PROJECT")
        return WandB(rest, name, run.folder)
    raise DeepfakeError(
        f"--track {spec}: no such tracker; there are tensorboard, mlflow:URI?experiment=NAME and wandb:PROJECT"
    )

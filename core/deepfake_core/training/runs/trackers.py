"""Curves of a run, for TensorBoard, MLflow and Weights & Biases.

A tracker is an onlooker: whatever happens to it, training goes on (:class:`Trackers`).
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.training.runs.runfiles import flat, read_json
from deepfake_registry.files import write_atomic

if TYPE_CHECKING:
    from deepfake_core.training.runs.rundir import RunDir

log = logging.getLogger("deepfake.training")

Ending = Literal["finished", "failed"]

IDS = "trackers.json"
"""File in a run's folder that keeps what a tracker needs to go on with the same run."""

RETRY_S = 60.0
"""How long a tracker that failed is left alone."""

_KEPT = 20_000  # calls that wait for a tracker that failed
_TRIES = 5  # of one call
_PARAMS, _METRICS, _TEXT = 100, 1000, 500  # what an MLflow server takes in one request, and in one value


class Tracker(ABC):
    """One place where a run can be watched. It may raise anything."""

    @abstractmethod
    def start(self, settings: Mapping[str, Any], step: int) -> None:
        """Begin, or go on after ``step`` optimiser steps (0: from the start).

        What was logged of later steps, before the run was cut off, is superseded.
        """

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take values of one step."""

    def flush(self) -> None:  # noqa: B027 - most hand on what they get at once
        """Write down what was logged, because a checkpoint is about to be saved."""

    @abstractmethod
    def close(self, ending: Ending) -> None:
        """End the run."""


class TensorBoard(Tracker):
    """Event files in the run's folder (001-20).

    Raises:
        MissingExtra: The ``tensorboard`` package is absent.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise MissingExtra("TensorBoard", "deepfake-core[torch]")
        self.folder = folder
        self.writer: Any = None

    def start(self, settings: Mapping[str, Any], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Readers take the files in the order of their names, which begin with the second of their making.
        now = int(time.time())
        while any(self.folder.glob(f"events.out.tfevents.{now}.*")) and int(time.time()) == now:
            time.sleep(0.02)
        # They drop what the files of before say about these steps, so that no curve doubles back.
        purge = step + 1 if step else 0
        self.writer = SummaryWriter(str(self.folder), purge_step=purge, flush_secs=10)
        rows = [f"| {key} | {value} |" for key, value in flat(settings).items()]
        self.writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]), step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self.writer.flush()

    def close(self, ending: Ending) -> None:  # noqa: ARG002 - event files know no ending
        self.writer.close()


class MLflow(Tracker):
    """A run of an MLflow experiment, in a local store or on a server (001-25).

    Args:
        uri: Tracking URI; by default MLflow's own.
        experiment: Made when it does not exist.
        name: Of the run.
        ids: The run's :data:`IDS` file.

    Raises:
        MissingExtra: The ``mlflow`` package is absent.
    """

    def __init__(self, uri: str | None, experiment: str, name: str, ids: Path) -> None:
        # A server that is gone must cost seconds, not the minutes of MLflow's own patience.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        # It tells its makers how it is used, unless told otherwise before it is imported.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            from mlflow import MlflowClient
        except ModuleNotFoundError:
            raise MissingExtra("tracking by MLflow", "deepfake-core[track]") from None
        self.make_client = MlflowClient
        self.uri, self.experiment, self.name, self.ids = uri, experiment, name, ids
        self.client: Any = None
        self.run_id = ""
        self.done: dict[str, int] = {}

    def start(self, settings: Mapping[str, Any], step: int) -> None:  # noqa: ARG002 - the server knows the step
        from mlflow.exceptions import MlflowException

        self.client = self.make_client(tracking_uri=self.uri)
        place = {"uri": _public(self.uri), "experiment": self.experiment}
        known = read_json(self.ids).get("mlflow", {})
        if known and {key: known.get(key) for key in place} == place:
            try:
                found = self.client.get_run(known["run_id"])
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                log.warning("MLflow does not know run %s any more; a new one takes its place", known["run_id"])
            else:
                self.run_id = known["run_id"]
                self.client.update_run(self.run_id, status="RUNNING")
                for key in found.data.metrics:
                    points = self.client.get_metric_history(self.run_id, key)
                    self.done[key] = max((point.step for point in points), default=-1)
                if not found.data.params:  # the connection broke right after the run was made
                    self._log_settings(settings)
                return
        self.run_id = self.client.create_run(self._experiment_id(), run_name=self.name).info.run_id
        remember(self.ids, "mlflow", {**place, "run_id": self.run_id})
        self._log_settings(settings)

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return str(self.client.create_experiment(self.experiment))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run was faster
                    raise
                found = self.client.get_experiment_by_name(self.experiment)
        return str(found.experiment_id)

    def _log_settings(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(_key(key), str(value)[:_TEXT]) for key, value in flat(settings).items()]
        for first in range(0, len(params), _PARAMS):
            self.client.log_batch(self.run_id, params=params[first : first + _PARAMS])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # Steps that are run again after a cut give the same values, and the server keeps whatever it gets.
        fresh = {key: value for name, value in values.items() if self.done.get(key := _key(name), -1) < step}
        metrics = [Metric(key, value, now, step) for key, value in fresh.items()]
        for first in range(0, len(metrics), _METRICS):
            self.client.log_batch(self.run_id, metrics=metrics[first : first + _METRICS])

    def close(self, ending: Ending) -> None:
        self.client.set_terminated(self.run_id, "FINISHED" if ending == "finished" else "FAILED")


class WandB(Tracker):
    """A run of Weights & Biases (001-25); ``WANDB_MODE=offline`` keeps it in the run's folder, for ``wandb sync``.

    Args:
        project: ``project`` or ``entity/project``.
        name: Of the run.
        folder: The run's folder.

    Raises:
        MissingExtra: The ``wandb`` package is absent.
    """

    def __init__(self, project: str, name: str, folder: Path) -> None:
        try:
            import wandb
        except ModuleNotFoundError:
            raise MissingExtra("tracking by Weights & Biases", "deepfake-core[track]") from None
        self.wandb: Any = wandb
        self.entity, _, self.project = project.rpartition("/")
        self.name, self.folder = name, folder
        self.run: Any = None

    def start(self, settings: Mapping[str, Any], step: int) -> None:  # noqa: ARG002 - the service knows the step
        place = {"entity": self.entity, "project": self.project}
        known = read_json(self.folder / IDS).get("wandb", {})
        same = {key: known.get(key) for key in place} == place
        run_id = known["run_id"] if same else secrets.token_hex(4)
        self.run = self.wandb.init(
            project=self.project,
            entity=self.entity or None,
            name=self.name,
            id=run_id,
            resume="allow",
            dir=str(self.folder),
            config=flat(settings),
            # The project logs for itself; a service that cannot be reached must not hold up training.
            settings=self.wandb.Settings(console="off", init_timeout=30),
        )
        remember(self.folder / IDS, "wandb", {**place, "run_id": run_id})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self, ending: Ending) -> None:
        self.run.finish(exit_code=0 if ending == "finished" else 1)


class Trackers(Tracker):
    """Several trackers as one, none of which can end training.

    One that fails is warned about once. What it missed is kept and sent again with what comes later, a minute on
    at the earliest and at the latest when the run ends.
    """

    def __init__(self, each: Mapping[str, Tracker]) -> None:
        self._each = [_Guarded(name, tracker) for name, tracker in each.items()]

    def start(self, settings: Mapping[str, Any], step: int = 0) -> None:
        for guarded in self._each:
            guarded.call("start", dict(settings), step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for guarded in self._each:
            guarded.call("log", step, dict(values))

    def flush(self) -> None:
        for guarded in self._each:
            guarded.call("flush")

    def close(self, ending: Ending) -> None:
        for guarded in self._each:
            guarded.retry_at = 0.0
            guarded.call("close", ending)


class _Guarded:
    """A tracker whose failures are its own; calls are kept in order until they succeed."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker = name, tracker
        self.waiting: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=_KEPT)
        self.begin: tuple[Any, ...] | None = None
        self.retry_at = 0.0
        self.failures = 0
        self.warned = False

    def call(self, method: str, *arguments: Any) -> None:
        if method == "start":
            self.begin = arguments  # never crowded out by what waits behind it
        elif method != "flush" or not self.waiting:
            self.waiting.append((method, arguments))
        if time.monotonic() < self.retry_at:
            return
        try:
            if self.begin is not None:
                self.tracker.start(*self.begin)
                self.begin = None
            while self.waiting:
                method, arguments = self.waiting[0]
                getattr(self.tracker, method)(*arguments)
                self.waiting.popleft()
                self.failures = 0
        except Exception as error:  # noqa: BLE001 - a foreign library and a network; training must go on
            self.retry_at = time.monotonic() + RETRY_S
            self.failures += 1
            if self.begin is None and self.failures >= _TRIES:  # it may be the value itself that is not taken
                self.waiting.popleft()
                self.failures = 0
            if not self.warned:
                text = (str(error) or type(error).__name__).splitlines()[0]
                text = re.sub(r"//[^/\s]*@", "//", text)  # of an address, no user and password
                log.warning("tracking by %s failed (%s); training goes on without it", self.name, text)
            self.warned = True


def trackers(specs: Sequence[str], run: RunDir) -> Trackers:
    """Trackers by what users type.

    Args:
        specs: ``tensorboard``; ``mlflow``, ``mlflow:URI`` or ``mlflow:URI?experiment=NAME``; ``wandb:PROJECT`` or
            ``wandb:ENTITY/PROJECT``.
        run: The run's folder; in a process that does not write to it, nothing is tracked.

    Raises:
        DeepfakeError: There is no such tracker, or its settings are not complete.
        MissingExtra: What it needs is not installed.
    """
    if not run.writes:
        return Trackers({})
    found: dict[str, Tracker] = {}
    for spec in specs:
        kind = spec.partition(":")[0]
        if kind in found:
            raise DeepfakeError(f"--track {spec}: {kind} is named twice; keep one")
        found[kind] = _tracker(spec, run)
    return Trackers(found)


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


def remember(file: Path, name: str, values: Mapping[str, Any]) -> None:
    """Keep what one tracker needs to go on, beside that of the others."""
    write_atomic(file, json.dumps({**read_json(file), name: dict(values)}, indent=2) + "\n")


def _public(uri: str | None) -> str | None:
    """A URI without user and password, which belong in no file."""
    if uri is None or "@" not in uri:
        return uri
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _key(name: str) -> str:
    """A name that MLflow takes: letters, digits, and ``_-. /``."""
    return "".join(character if character.isalnum() or character in "_-. /" else "_" for character in name)

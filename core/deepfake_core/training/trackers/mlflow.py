"""MLflow as a tracker."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from deepfake_core.errors import MissingExtra
from deepfake_core.training.recipes.settings import flat
from deepfake_core.training.runs.files import read_json
from deepfake_core.training.trackers.base import Ending, Tracker, store_id

log = logging.getLogger("deepfake.training")

# What an MLflow server accepts: parameters and metrics per request, and characters per value.
_PARAMS, _METRICS, _CHARACTERS = 100, 1000, 500


class MLflow(Tracker):
    """A run of an MLflow experiment, in a local store or on a server.

    Args:
        uri: Tracking URI; by default that of MLflow's own settings.
        experiment: Name of the experiment; it is made when it does not exist.
        name: Name of the run.
        ids: The run's :data:`~deepfake_core.training.trackers.base.IDS` file.

    Raises:
        MissingExtra: The ``mlflow`` package is absent.
    """

    def __init__(self, uri: str | None, experiment: str, name: str, ids: Path) -> None:
        # By default MLflow waits for minutes when its server is gone; training must lose seconds only.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        try:
            from mlflow import MlflowClient
        except ModuleNotFoundError:
            raise MissingExtra("tracking by MLflow", "deepfake-core[track]") from None
        self.make_client = MlflowClient
        self.uri, self.experiment, self.name, self.ids = uri, experiment, name, ids
        self.client: Any = None
        self.run_id = ""
        self.done: dict[str, int] = {}

    def start(self, settings: Mapping[str, Any], step: int) -> None:  # noqa: ARG002 - the server knows the last steps
        from mlflow.exceptions import MlflowException

        self.client = self.make_client(tracking_uri=self.uri)
        place = {"uri": without_credentials(self.uri), "experiment": self.experiment}
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
                if not found.data.params:  # the connection was lost right after the run was made
                    self._log_settings(settings)
                return
        self.run_id = self.client.create_run(self._experiment_id(), run_name=self.name).info.run_id
        store_id(self.ids, "mlflow", {**place, "run_id": self.run_id})
        self._log_settings(settings)

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return str(self.client.create_experiment(self.experiment))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run has made it in the meantime
                    raise
                found = self.client.get_experiment_by_name(self.experiment)
        return str(found.experiment_id)

    def _log_settings(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(_key(key), str(value)[:_CHARACTERS]) for key, value in flat(settings).items()]
        for first in range(0, len(params), _PARAMS):
            self.client.log_batch(self.run_id, params=params[first : first + _PARAMS])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # A resumed run repeats some steps with the same values; the server would keep each of them twice.
        fresh = {key: value for name, value in values.items() if self.done.get(key := _key(name), -1) < step}
        metrics = [Metric(key, value, now, step) for key, value in fresh.items()]
        for first in range(0, len(metrics), _METRICS):
            self.client.log_batch(self.run_id, metrics=metrics[first : first + _METRICS])

    def close(self, ending: Ending) -> None:
        self.client.set_terminated(self.run_id, "FINISHED" if ending == "finished" else "FAILED")


def without_credentials(uri: str | None) -> str | None:
    """Return a URI without its user name and password, which must not be written to a file."""
    if uri is None or "@" not in uri:
        return uri
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _key(name: str) -> str:
    """Return a name with only the characters that MLflow accepts: letters, digits, and ``_-. /``."""
    return "".join(character if character.isalnum() or character in "_-. /" else "_" for character in name)

"""Weights & Biases as a tracker."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake_core.errors import MissingExtra
from deepfake_core.training.recipes.settings import flat
from deepfake_core.training.runs.files import read_json
from deepfake_core.training.trackers.base import IDS, Ending, Tracker, store_id


class WandB(Tracker):
    """A run of Weights & Biases.

    With ``WANDB_MODE=offline`` in the environment, it is kept in the run's folder, for a later ``wandb sync``.

    Args:
        project: ``project`` or ``entity/project``.
        name: Name of the run.
        folder: Folder of the run.

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

    def start(self, settings: Mapping[str, Any], step: int) -> None:  # noqa: ARG002 - the service knows the last step
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
            # The project has a log of its own, and a service that cannot be reached must not hold up training.
            settings=self.wandb.Settings(console="off", init_timeout=30),
        )
        store_id(self.folder / IDS, "wandb", {**place, "run_id": run_id})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self, ending: Ending) -> None:
        self.run.finish(exit_code=0 if ending == "finished" else 1)

"""The interface of a tracker, and the file in a run's folder that lets trackers go on with the same run."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from deepfake_core.training.runs.files import read_json
from deepfake_registry.files import write_atomic

Ending = Literal["finished", "failed"]
"""State in which a run ended."""

IDS = "trackers.json"
"""Name of the file in a run's folder that holds the trackers' run ids."""


class Tracker(ABC):
    """A place where a run can be watched. Its methods may raise any error."""

    @abstractmethod
    def start(self, settings: Mapping[str, Any], step: int) -> None:
        """Begin a run, or go on with it.

        Values that were logged for steps after ``step``, before the run was interrupted, are superseded.

        Args:
            settings: Settings of the run in plain values.
            step: Number of optimiser steps taken so far; 0 at the start of a run.
        """

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log named values of one step."""

    def flush(self) -> None:  # noqa: B027 - most trackers send at once what they get
        """Write all logged values, because a checkpoint is about to be saved."""

    @abstractmethod
    def close(self, ending: Ending) -> None:
        """End the run."""


def store_id(file: Path, name: str, values: Mapping[str, Any]) -> None:
    """Store what one tracker needs to go on with the same run.

    Args:
        file: The run's :data:`IDS` file; the entries of other trackers are kept.
        name: Name of the tracker.
        values: Content of its entry.
    """
    write_atomic(file, json.dumps({**read_json(file), name: dict(values)}, indent=2) + "\n")

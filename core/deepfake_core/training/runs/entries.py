"""A finished run as the record of all runs describes it."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.discovery.artifacts import read_package
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.recipes.advice import advice
from deepfake_core.training.runs.files import first_line, read_history, read_json
from deepfake_core.training.runs.stored import read_config
from deepfake_registry.manifest import MANIFEST_FILE, Frozen


class RunEntry(Frozen):
    """One finished run.

    Attributes:
        run: Name of the run's folder.
        detector: Name of the trained detector.
        monitor: Validation metric that selected the best weights.
        mode: Whether the metric is better when higher (``max``) or lower (``min``).
        value: Value of the metric at the best validation.
        fingerprint: Fingerprint of the validation samples; values on other samples cannot be compared.
        config: Path of the run's settings, relative to the folder of all runs.
        git: Commit of the code.
        timestamp: Time at which the run finished, UTC.
        model: Version of the packaged model.
        data: Training data as the user named them.
    """

    run: str = Field(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")
    detector: str = Field(pattern=r"^[\w-][\w.-]*$")
    monitor: str
    mode: Literal["max", "min"] = "max"
    value: float | None = None
    fingerprint: str = Field("", pattern=r"^[\w-]*$")
    config: str = ""
    git: str | None = None
    timestamp: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    model: str = ""
    data: str = ""

    @property
    def key(self) -> str:
        """Name of what the run competes for: the best of one detector, on the same samples, by the same metric."""
        monitor = re.sub(r"[^\w.-]+", "_", self.monitor)  # the AUC of one source has the source's name in it
        return f"{self.detector}/{self.fingerprint[:12] or 'unknown'}-{monitor}"

    @property
    def is_number(self) -> bool:
        """Whether the value is a finite number."""
        return self.value is not None and math.isfinite(self.value)

    def beats(self, other: RunEntry) -> bool:
        """Return whether the value is strictly better than another run's; any finite number beats none."""
        if self.value is None or other.value is None or not (self.is_number and other.is_number):
            return self.is_number and not other.is_number
        return self.value > other.value if self.mode == "max" else self.value < other.value


def entry_of(folder: str | Path) -> RunEntry:
    """Return the entry of a run from the files in its folder.

    Raises:
        DeepfakeError: The folder holds no run, or one of its files is damaged.
    """
    folder = Path(folder).resolve()
    settings, data = read_config(folder), read_json(folder / "data.json")
    recipe = settings.get("recipe") or {}
    monitor, mode = recipe.get("monitor", "auc"), recipe.get("mode", "max")
    values = [row[monitor] for row in read_history(folder) if math.isfinite(row.get(monitor, math.nan))]
    model = folder / "model"
    finished = read_json(folder / "metrics.json").get("timestamp")
    try:
        return RunEntry(
            run=folder.name,
            detector=settings.get("detector", ""),
            monitor=monitor,
            mode=mode,
            value=(max if mode == "max" else min)(values, default=None),
            fingerprint=data.get("fingerprint", ""),
            config=f"{folder.name}/config.yaml",
            git=read_json(folder / "git.json").get("commit"),
            model=read_package(model).manifest.version if (model / MANIFEST_FILE).is_file() else "",
            data=str(data.get("data", "")),
            **({"timestamp": finished} if finished else {}),
        )
    except ValidationError as error:
        raise DeepfakeError(
            f"{folder}: its files do not describe a run ({first_problem(error)}); restore them"
        ) from error


def advice_of(folder: str | Path) -> tuple[str, ...]:
    """Return what the validations of a run say about its recipe; see :mod:`deepfake_core.training.recipes.advice`.

    Raises:
        DeepfakeError: The folder holds no run, or one of its files is damaged.
    """
    try:
        recipe = TrainRecipe.model_validate(read_config(folder).get("recipe"))
    except ValidationError:  # of another version
        return ()
    return advice(read_history(folder), recipe, read_json(Path(folder) / "data.json").get("validation_samples"))


def first_problem(error: Exception) -> str:
    """Return the first problem of an error in one line; a validation error's includes the name of the field."""
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        return f"{'.'.join(map(str, found['loc'])) or 'file'}: {found['msg']}"
    return first_line(error)

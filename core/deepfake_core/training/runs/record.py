"""``model_metadata.json``: every run of a folder of runs, and the best model of each detector (001-15, 001-16)."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from deepfake_core.discovery.artifacts import read_package, write_package
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError
from deepfake_core.training.runs.runfiles import locked, read_config, read_history, read_json
from deepfake_registry.files import write_atomic
from deepfake_registry.manifest import MANIFEST_FILE, Frozen

log = logging.getLogger("deepfake.training")

RECORD = "model_metadata.json"
BEST = "best"
PROMOTION = "promotion.json"
LOCK_WAIT_S = 600.0
"""How long to wait while other runs copy their models."""


class RunEntry(Frozen):
    """One finished run.

    Attributes:
        run: Name of its folder.
        detector: What was trained.
        monitor: Validation metric that chose its best weights.
        mode: Whether that is better when higher (``max``) or lower (``min``).
        value: The metric at the best validation.
        fingerprint: Of the validation samples: values on other samples cannot be compared.
        config: Path of its settings, from the folder of runs.
        git: Commit of the code.
        timestamp: When it finished, UTC.
        model: Version of the packaged model.
        data: What it was trained on, for readers.
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
        """What it competes for: the best of one detector, on the same samples, by the same metric."""
        monitor = re.sub(r"[^\w.-]+", "_", self.monitor)  # AUCs bear the names of sources, which may be anything
        return f"{self.detector}/{self.fingerprint[:12] or 'unknown'}-{monitor}"

    @property
    def is_number(self) -> bool:
        """Whether there is a value to compare."""
        return self.value is not None and math.isfinite(self.value)

    def beats(self, other: RunEntry) -> bool:
        """Whether it is strictly better; what is no number beats nothing, and any number beats it."""
        if self.value is None or other.value is None or not (self.is_number and other.is_number):
            return self.is_number and not other.is_number
        return self.value > other.value if self.mode == "max" else self.value < other.value


class Record(Frozen):
    """What ``model_metadata.json`` holds.

    Attributes:
        runs: Every run by its name.
        best: The promoted one by :attr:`RunEntry.key`, which is also its model's folder below ``best/``.
    """

    schema_version: Literal[1] = 1
    runs: dict[str, RunEntry] = {}
    best: dict[str, RunEntry] = {}


def entry_of(folder: str | Path) -> RunEntry:
    """A run as the record has it, from the files in its folder.

    Raises:
        DeepfakeError: The folder holds no run, or a file of it is damaged.
        MissingExtra: The ``pyyaml`` package is absent.
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
        raise DeepfakeError(f"{folder}: its files do not describe a run ({_first(error)}); restore them") from error


@dataclass(frozen=True)
class Promotion:
    """What became of a run's claim to be the best.

    Attributes:
        promoted: Whether its model is the best now.
        folder: Where the best model is.
        reason: In one line, for people.
    """

    promoted: bool
    folder: Path
    reason: str


class RunRecord:
    """The record of one folder of runs; safe when several runs finish at once.

    Args:
        runs: Folder that holds the runs' folders.
    """

    def __init__(self, runs: str | Path) -> None:
        self.runs = Path(runs)
        self.file = self.runs / RECORD

    def read(self) -> Record:
        """The record as it stands; empty when there is none.

        Raises:
            DeepfakeError: It is damaged.
        """
        try:
            return Record.model_validate_json(self.file.read_bytes())
        except FileNotFoundError:
            return Record()
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else _first(error)
            raise DeepfakeError(
                f"{self.file}: cannot be read ({reason}); restore it, or remove it and the next run begins a new one"
            ) from error

    def add(self, entry: RunEntry) -> Promotion:
        """Record a finished run, and promote its model if it is the best of its kind (001-16).

        The run is written down before its model is copied and the best one after it: whoever comes next completes
        what a killed process began.

        Raises:
            DeepfakeError: The record cannot be written.
            MissingExtra: The ``filelock`` package is absent.
        """
        with self._locked():
            record = self._read_or_set_aside()
            record = record.model_copy(update={"runs": {**record.runs, entry.run: entry}})
            self._write(record)
            before = record.best.get(entry.key)
            record = self._promote(record, entry.key)
            return self._outcome(entry, before, record)

    def forget(self, names: Iterable[str]) -> None:
        """Take runs out of the record; promoted models stay.

        Raises:
            DeepfakeError: The record is damaged, or cannot be written.
        """
        gone = set(names)
        with self._locked():
            record = self.read()
            self._write(
                record.model_copy(update={"runs": {name: e for name, e in record.runs.items() if name not in gone}})
            )

    def deleted(self) -> list[str]:
        """Names of recorded runs whose folders are gone.

        Raises:
            DeepfakeError: The record is damaged.
        """
        return [name for name in self.read().runs if not (self.runs / name).is_dir()]

    def best_folder(self, key: str) -> Path:
        """Where the best model of one kind is."""
        return self.runs / BEST / key

    def _promote(self, record: Record, key: str) -> Record:
        """Copy the best model of one kind to its place, unless it is there."""
        now = record.best.get(key)
        if now is not None and not (self.best_folder(key) / MANIFEST_FILE).is_file():
            now = None  # somebody removed it
        rivals = [entry for entry in record.runs.values() if entry.key == key and entry.is_number]
        rivals = [entry for entry in rivals if (self.runs / entry.run / "model" / MANIFEST_FILE).is_file()]
        rivals.sort(key=lambda entry: entry.value or 0.0, reverse=bool(rivals) and rivals[0].mode == "max")
        for rival in rivals:
            if now is not None and not rival.beats(now):
                break
            try:
                self._copy_model(rival)
            except ArtifactCorrupt as error:
                log.warning("%s of run %s cannot be promoted: %s", rival.detector, rival.run, error)
                continue
            record = record.model_copy(update={"best": {**record.best, key: rival}})
            self._write(record)
            break
        return record

    def _copy_model(self, entry: RunEntry) -> None:
        package = read_package(self.runs / entry.run / "model")
        found = {format: package.artifact(format) for format in package.manifest.files}
        files = {format: artifact.path for format, artifact in found.items() if artifact is not None}
        folder = self.best_folder(entry.key)
        write_package(folder, package.manifest, files)
        write_atomic(folder / PROMOTION, entry.model_dump_json(indent=2) + "\n")

    def _outcome(self, entry: RunEntry, before: RunEntry | None, record: Record) -> Promotion:
        folder, now = self.best_folder(entry.key), record.best.get(entry.key)
        value = "no number" if entry.value is None else f"{entry.value:.4f}"
        if before is not None and (before.run, before.value) == (entry.run, entry.value):
            return Promotion(False, folder, f"{entry.monitor} {value} is the best already")
        if now == entry:
            if before is not None:
                reason = f"{entry.monitor} {value} beats {before.value:.4f} of {before.run}"
            elif any(best.detector == entry.detector for best in record.best.values() if best != entry):
                reason = f"{entry.monitor} {value}, the first on these validation data; others are not comparable"
            else:
                reason = f"{entry.monitor} {value}, the first of {entry.detector}"
            return Promotion(True, folder, reason)
        if now is None:
            return Promotion(False, folder, f"{entry.monitor} is {value}, or there is no packaged model")
        return Promotion(False, folder, f"{entry.monitor} {value} does not beat {now.value:.4f} of {now.run}")

    def _write(self, record: Record) -> None:
        write_atomic(self.file, record.model_dump_json(indent=2) + "\n")

    def _read_or_set_aside(self) -> Record:
        """The record; a damaged one is renamed, and what was promoted is read from beside the models."""
        try:
            return self.read()
        except DeepfakeError as error:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            aside = self.file.with_name(f"model_metadata.damaged-{stamp}.json")
            self.file.replace(aside)
            log.warning("%s; it is kept as %s, and a new record begins", error, aside.name)
        return Record(best=dict(self._promoted()))

    def _promoted(self) -> Iterator[tuple[str, RunEntry]]:
        for file in sorted((self.runs / BEST).glob(f"*/*/{PROMOTION}")):
            try:
                entry = RunEntry.model_validate_json(file.read_bytes())
            except (OSError, ValidationError) as error:
                log.warning("%s: cannot be read (%s); the model beside it may be replaced", file, _first(error))
            else:
                yield entry.key, entry

    @contextmanager
    def _locked(self) -> Iterator[None]:
        busy = f"{self.file}: another process holds it; try again when that has finished"
        lock = locked(self.runs / f".{RECORD}.lock", busy, LOCK_WAIT_S)
        try:
            yield
        finally:
            lock.release()


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        return f"{'.'.join(map(str, found['loc'])) or 'file'}: {found['msg']}"
    return str(error).splitlines()[0]

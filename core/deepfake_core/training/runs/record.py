"""The record of a folder of runs, ``model_metadata.json``: every finished run, and the best model of each detector."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from deepfake_core.discovery.artifacts import read_package, write_package
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError
from deepfake_core.locks import locked
from deepfake_core.training.runs.entries import RunEntry, first_problem
from deepfake_registry.files import write_atomic
from deepfake_registry.manifest import MANIFEST_FILE, Frozen

log = logging.getLogger("deepfake.training")

RECORD = "model_metadata.json"
"""Name of the record in a folder of runs."""

BEST = "best"
"""Name of the folder of promoted models in a folder of runs."""

PROMOTION = "promotion.json"
"""Name of the file beside a promoted model that holds its run's entry."""

LOCK_WAIT_S = 600.0
"""How long to wait while other runs copy their models, in seconds."""


class Record(Frozen):
    """Content of ``model_metadata.json``.

    Attributes:
        schema_version: Version of the format.
        runs: Every finished run by its name.
        best: The promoted run by its :attr:`RunEntry.key`, which is also the folder of its model below ``best/``.
    """

    schema_version: Literal[1] = 1
    runs: dict[str, RunEntry] = {}
    best: dict[str, RunEntry] = {}


@dataclass(frozen=True)
class Promotion:
    """Whether a finished run's model was promoted.

    Attributes:
        promoted: Whether its model is the best now.
        folder: Folder of the best model.
        reason: Explanation in one line.
    """

    promoted: bool
    folder: Path
    reason: str


class RunRecord:
    """The record of one folder of runs; several runs may finish at once.

    Args:
        runs: Folder that holds the folders of the runs.

    Attributes:
        runs: Folder that holds the folders of the runs.
        file: File of the record.
    """

    def __init__(self, runs: str | Path) -> None:
        self.runs = Path(runs)
        self.file = self.runs / RECORD

    def read(self) -> Record:
        """Return the record; it is empty when there is none.

        Raises:
            DeepfakeError: The record is damaged.
        """
        try:
            return Record.model_validate_json(self.file.read_bytes())
        except FileNotFoundError:
            return Record()
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else first_problem(error)
            raise DeepfakeError(
                f"{self.file}: cannot be read ({reason}); restore it, or remove it and the next run begins a new one"
            ) from error

    def add(self, entry: RunEntry) -> Promotion:
        """Add a finished run to the record, and promote its model if it is the best of its kind.

        The run is recorded before its model is copied, and the promotion after that, so that the next run completes
        what a killed process has begun.

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
        """Remove runs from the record; promoted models stay.

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
        """Return the names of recorded runs whose folders do not exist any more.

        Raises:
            DeepfakeError: The record is damaged.
        """
        return [name for name in self.read().runs if not (self.runs / name).is_dir()]

    def best_folder(self, key: str) -> Path:
        """Return the folder of the best model of one kind (:attr:`RunEntry.key`)."""
        return self.runs / BEST / key

    def _promote(self, record: Record, key: str) -> Record:
        """Copy the best model of one kind to its folder, unless it is there already, and return the new record."""
        now = record.best.get(key)
        if now is not None and not (self.best_folder(key) / MANIFEST_FILE).is_file():
            now = None  # its files were removed
        candidates = [entry for entry in record.runs.values() if entry.key == key and entry.is_number]
        candidates = [entry for entry in candidates if (self.runs / entry.run / "model" / MANIFEST_FILE).is_file()]
        candidates.sort(key=lambda entry: entry.value or 0.0, reverse=bool(candidates) and candidates[0].mode == "max")
        for candidate in candidates:
            if now is not None and not candidate.beats(now):
                break
            try:
                self._copy_model(candidate)
            except ArtifactCorrupt as error:
                log.warning("%s of run %s cannot be promoted: %s", candidate.detector, candidate.run, error)
                continue
            record = record.model_copy(update={"best": {**record.best, key: candidate}})
            self._write(record)
            break
        return record

    def _copy_model(self, entry: RunEntry) -> None:
        package = read_package(self.runs / entry.run / "model")
        found = {format: package.artifact(format) for format in package.manifest.files}
        files = {format: artifact.path for format, artifact in found.items() if artifact is not None}
        folder = self.best_folder(entry.key)
        write_package(folder, package.manifest, files, package.groups_file())
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
        """Return the record. A damaged one is renamed, and the promotions are read from beside the models."""
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
                log.warning("%s: cannot be read (%s); the model beside it may be replaced", file, first_problem(error))
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

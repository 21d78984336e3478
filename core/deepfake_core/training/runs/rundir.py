"""The folder of a run: everything that the run leaves behind, with each file complete or absent."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from deepfake_core.discovery.artifacts import RUN_MODEL
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.runs.files import finite, read_csv, read_history, read_json, to_csv
from deepfake_core.training.runs.locks import LOCK, lock_run
from deepfake_core.training.runs.runlog import Note, log_to
from deepfake_core.training.runs.stored import read_config, with_defaults, without_machine
from deepfake_registry.files import write_atomic

if TYPE_CHECKING:
    from filelock import FileLock

log = logging.getLogger("deepfake.training")

HISTORY = {"train_loss": "loss", "val_auc": "auc", "val_acc": "acc"}
"""Names in the history of ``metrics.json`` → columns of ``metrics_log.csv``."""


SHORTCUTS = "shortcuts.json"
"""File of what tells the classes of the samples apart besides forgery."""

_READ_AGAIN = ("config.yaml", "data.json", "unreadable.csv", "trackers.json", "metrics_log.csv")
"""Files of a run that the same run reads when it goes on."""

_BEFORE_CHECKPOINT = {
    *("cache", "git.json", "requirements.txt", "run.log", SHORTCUTS, "system.json", "tensorboard", "wandb"),
    *_READ_AGAIN,
}
"""Everything that a run writes before its first checkpoint."""

_TEMPORARY = re.compile(r"\..*\.tmp")


class RunDir:
    """The folder of one run. It has one writer at a time, and a killed writer leaves it readable.

    It is a context manager; leaving it releases the folder for the next writer, and so does the end of
    :meth:`log_file`.

    Args:
        folder: Folder of the run; it is made when it does not exist.
        resume: Whether to go on with the run that the folder holds. Otherwise the folder must be empty, or hold a run
            that ended before its first checkpoint: its files are replaced, all but its log and its cache.
        writes: Whether this process writes. Of several processes that train together, only the main one does; in the
            others, every method but the paths does nothing.

    Attributes:
        folder: Folder of the run.
        writes: Whether this process writes.
        resumed: Whether the folder held a run before.

    Raises:
        DeepfakeError: The folder is not empty, holds no run to go on with, cannot be made, or another process writes
            to it.
        MissingExtra: The ``filelock`` package is absent.
    """

    def __init__(self, folder: str | Path, *, resume: bool = False, writes: bool = True) -> None:
        self.folder = Path(folder)
        self.writes = writes
        self.resumed = False
        self._lock: FileLock | None = None
        self._write_note: Note | None = None
        if not writes:
            return
        refuse_leftovers(self.folder, resume=resume)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeepfakeError(f"{self.folder}: cannot be made ({error.strerror}); name another folder") from error
        self._lock = lock_run(self.folder)
        try:
            refuse_leftovers(self.folder, resume=resume)
            self.resumed = resume and any(path.name != LOCK for path in self.folder.iterdir())
            if not resume:
                self._remove_failed_start()
            for leftover in self.folder.rglob(".*.tmp"):  # unfinished files of killed writers
                leftover.unlink(missing_ok=True)
        except BaseException:
            self.close()
            raise

    def _remove_failed_start(self) -> None:
        """Remove what a run wrote before its first checkpoint and what a new run would read."""
        for name in _READ_AGAIN:
            (self.folder / name).unlink(missing_ok=True)
        for events in self.tensorboard.glob("events.out.tfevents.*"):  # their points would double those of the new run
            events.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder for the next writer; further calls do nothing."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # ── paths ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def last(self) -> Path:
        """File of the resume state of the last checkpoint."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """File of the weights of the best validation."""
        return self.folder / "best.safetensors"

    @property
    def model(self) -> Path:
        """Folder of the packaged model."""
        return self.folder / RUN_MODEL

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.folder / "tensorboard"

    @property
    def explain(self) -> Path:
        """Folder of the overlays of validation samples."""
        return self.folder / "explain"

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def log_file(self) -> Iterator[None]:
        """Within the block, write the messages of all loggers named ``deepfake…`` and every warning to ``run.log``.

        An error that ends the block is written with its traceback. The end of the block releases the folder for the
        next writer.
        """
        if not self.writes:
            yield
            return
        try:
            with log_to(self.folder / "run.log") as self._write_note:
                self._note("resumed" if self.resumed else "started")
                try:
                    yield
                    self._note("ended")
                except BaseException as error:
                    self._note(f"stopped: {type(error).__name__}: {error}", logging.ERROR, error)
                    raise
        finally:
            self._write_note = None
            self.close()

    def start(
        self, settings: Mapping[str, Any], data: Mapping[str, Any], *, device: str = "cpu", precision: str = "fp32"
    ) -> None:
        """Record the settings, the data, the code and the machine of the run that is about to begin.

        A resumed run must have the settings and data that it began with; only the places of the data may differ, and
        the settings that belong to the machine (:data:`~deepfake_core.contract.recipe.OF_MACHINE`), which are stored.

        Args:
            settings: Content of ``config.yaml`` in plain values: ``detector`` (a name), ``config``, ``recipe``, ….
            data: Content of ``data.json``: the data of training and validation, such as ``data``, ``fingerprint`` (of
                the validation samples) and ``counts``.
            device: Device of the run, such as ``"cuda:0"``.
            precision: Precision of the forward pass: ``"fp32"``, ``"bf16"`` or ``"fp16"``.

        Raises:
            DeepfakeError: The run began with other settings or other data, or a file cannot be written.
        """
        if not self.writes:
            return
        from deepfake_core.training.recipes.yaml_files import to_yaml  # the base install has no writer of YAML
        from deepfake_core.training.runs.environment import frozen_requirements, git_state, system_state

        text = to_yaml(settings)
        config = self.folder / "config.yaml"
        if config.exists():
            began, now = with_defaults(read_config(self.folder)), with_defaults(settings)
            kept, fresh = ({**one, "recipe": without_machine(one.get("recipe"))} for one in (began, now))
            changed = [key for key in ("detector", "config", "recipe", "start") if kept.get(key) != fresh.get(key)]
            before = read_json(self.folder / "data.json")
            changed += [key for key in ("fingerprint", "counts") if before and before.get(key) != data.get(key)]
            if before.get("content", data.get("content")) != data.get("content"):
                changed.append("content of the files")
            if changed:
                raise DeepfakeError(
                    f"{self.folder}: the run began with another {' and another '.join(changed)}; go on with the "
                    "same settings (--start as well) and data, or begin a new run in another folder"
                )
            if began.get("recipe") != now.get("recipe"):
                write_atomic(config, to_yaml({**began, "recipe": now["recipe"]}))
        else:
            write_atomic(config, text)
        system = system_state(device, precision)
        write_atomic(self.folder / "requirements.txt", frozen_requirements())
        self.write_json("git.json", git_state())
        self.write_json("system.json", system)
        self.write_json("data.json", data)
        self._note(f"settings:\n{text}")
        mixed = f"mixed precision ({precision})" if system["mixed_precision"] else "full precision"
        log.info("training on %s (%s), %s", device, system["device_name"], mixed)

    def record_images(self, first: Sequence[str | Path], unreadable: Sequence[str] | Mapping[str, str]) -> None:
        """Record some of the training images, and the files that cannot be read.

        Args:
            first: First training images, for ``run.log``.
            unreadable: Unreadable files, or file → reason; ``unreadable.csv`` keeps those of earlier calls.

        Raises:
            DeepfakeError: A file cannot be written.
        """
        if not self.writes:
            return
        if first:
            self._note("\n".join([f"first {len(first)} pictures:", *map(str, first)]))
        reasons = unreadable if isinstance(unreadable, Mapping) else dict.fromkeys(unreadable, "")
        file = self.folder / "unreadable.csv"
        known = {row["file"]: row["reason"] for row in read_csv(file)} if file.exists() else {}
        fresh = {name: reason for name, reason in reasons.items() if name not in known}
        if fresh:
            rows = [{"file": name, "reason": reason} for name, reason in (known | fresh).items()]
            write_atomic(file, to_csv(rows))
            listed = [f"{name}: {reason}" if reason else name for name, reason in fresh.items()]
            self._note("\n".join([f"{len(fresh)} pictures cannot be read:", *listed]), logging.WARNING)

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the metrics of every validation so far to ``metrics_log.csv``.

        The columns are those of all rows, in the order of their first appearance; a value that a row does not have is
        empty. Numbers are written so that reading them gives the same bits.

        Raises:
            DeepfakeError: The file cannot be written.
        """
        if self.writes and history:
            write_atomic(self.folder / "metrics_log.csv", to_csv(history))

    def finish(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``metrics.json``: ``history``, ``best_val_auc``, ``test_metrics`` and ``timestamp``.

        The history is that of ``metrics_log.csv``. Other entries of an existing file are kept.

        Args:
            summary: Further entries, such as ``test_metrics`` with ``auc`` and ``accuracy``, ``training`` with what it
                took, or ``best_val_auc`` where it is not the greatest of the history.

        Returns:
            The content of the file; it is empty in a process that does not write.

        Raises:
            DeepfakeError: The file cannot be written.
        """
        if not self.writes:
            return {}
        rows = read_history(self.folder)
        history = {name: [row.get(column) for row in rows] for name, column in HISTORY.items()}
        aucs = [value for value in history["val_auc"] if value is not None and math.isfinite(value)]
        content = {
            **read_json(self.folder / "metrics.json"),
            "history": history,
            "best_val_auc": max(aucs, default=None),
            **summary,
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.write_json("metrics.json", content)
        return content

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file of the run; numbers that are not finite become ``null``, because JSON has none."""
        if self.writes:
            write_atomic(self.folder / name, json.dumps(finite(content), indent=2, ensure_ascii=False) + "\n")

    def _note(self, message: str, level: int = logging.INFO, error: BaseException | None = None) -> None:
        """Write a message to ``run.log`` alone."""
        if self._write_note is not None:
            self._write_note(message, level, error)


def refuse_leftovers(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that holds anything but a run to go on with.

    A run that ended before its first checkpoint counts as nothing, so that a failed first start can be repeated.

    Args:
        folder: Folder for the run; it need not exist.
        resume: Whether to go on with a run that the folder holds.

    Raises:
        DeepfakeError: The path is a file; the folder is not empty, without ``resume``; or, with ``resume``, the folder
            holds no run, or one that has finished and whose resume state was deleted.
    """
    if folder.exists() and not folder.is_dir():
        raise DeepfakeError(f"{folder}: is a file; name a folder for the run")
    names = {path.name for path in folder.iterdir() if path.name != LOCK} if folder.is_dir() else set()
    ours = bool(names & {"run.log", "config.yaml"})
    if names and not resume:
        foreign = sorted(name for name in names - _BEFORE_CHECKPOINT if not _TEMPORARY.fullmatch(name))
        if ours and not foreign:
            return
        if names & {"last.pt", "best.safetensors", "metrics.json"}:
            raise DeepfakeError(f"{folder}: holds a run; go on with it by --resume, or name another folder")
        raise DeepfakeError(
            f"{folder}: is not empty ({foreign[0] if foreign else min(names)}), and holds no run; name another folder"
        )
    if names and not ours:
        raise DeepfakeError(f"{folder}: holds no run to go on with; name the folder of one, or an empty one")
    if names and "last.pt" not in names and "timestamp" in read_json(folder / "metrics.json"):
        raise DeepfakeError(
            f"{folder}: has finished, and its last.pt was deleted; train on from its model in another folder by --start"
        )

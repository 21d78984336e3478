"""A run's folder: everything that one run leaves behind, each file whole or absent."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from pydantic import ValidationError

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.runs.runfiles import (
    LOCK,
    finite,
    lock_run,
    read_config,
    read_csv,
    read_history,
    read_json,
    refuse_leftovers,
    to_csv,
    to_yaml,
)
from deepfake_registry.files import write_atomic

if TYPE_CHECKING:
    from filelock import FileLock

log = logging.getLogger("deepfake.training")
INFO = logging.INFO  # a class that has a method of that name does not see the module

HISTORY = {"train_loss": "loss", "val_auc": "auc", "val_acc": "acc"}
"""Names in the history of ``metrics.json`` → columns of ``metrics_log.csv``."""


class RunDir:
    """The folder of one run. It has one writer at a time; whoever is killed leaves it readable.

    It is a context manager; leaving it lets the next writer in, and so does the end of :meth:`logging`.

    Args:
        folder: Made when it does not exist.
        resume: Go on with the run that the folder holds. Without it, the folder must be empty.
        writes: Whether this process writes; of several that train together only the main one does, and in the
            others every method but the paths does nothing.

    Attributes:
        folder: The run's folder.
        resumed: Whether the folder held a run before.

    Raises:
        DeepfakeError: The folder is not empty, or holds no run that could go on, cannot be made, or another process
            writes to it.
        MissingExtra: The ``filelock`` package is absent.
    """

    def __init__(self, folder: str | Path, *, resume: bool = False, writes: bool = True) -> None:
        self.folder = Path(folder)
        self.writes = writes
        self.resumed = False
        self._lock: FileLock | None = None
        self._handler: logging.Handler | None = None
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
            self.resumed = any(path.name != LOCK for path in self.folder.iterdir())
            for leftover in self.folder.rglob(".*.tmp"):  # what killed writers had not finished
                leftover.unlink(missing_ok=True)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next writer in; further calls do nothing."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # ── where things are ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def last(self) -> Path:
        """Resume state of the last checkpoint."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """Weights of the best validation."""
        return self.folder / "best.safetensors"

    @property
    def model(self) -> Path:
        """The packaged model."""
        return self.folder / "model"

    @property
    def tensorboard(self) -> Path:
        """Event files of TensorBoard."""
        return self.folder / "tensorboard"

    @property
    def explain(self) -> Path:
        """Overlays of validation samples."""
        return self.folder / "explain"

    # ── what is written ──────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Write all that loggers named ``deepfake…`` say, and every warning, to ``run.log`` (001-19).

        An error that ends the block is written down with its traceback. When the block ends, so does the run:
        the folder is free for the next writer.
        """
        if not self.writes:
            yield
            return
        file = self.folder / "run.log"
        _end_torn_line(file)
        handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger("deepfake")
        level = root.level
        if root.getEffectiveLevel() > logging.INFO:
            root.setLevel(logging.INFO)
        root.addHandler(handler)
        self._handler = handler
        show = warnings.showwarning

        def shown(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            self._note(f"{category.__name__}: {message} ({filename}:{lineno})", logging.WARNING)
            show(message, category, filename, lineno, file, line)

        warnings.showwarning = shown
        self._note("resumed" if self.resumed else "started")
        try:
            yield
            self._note("ended")
        except BaseException as error:
            self._note(f"stopped: {type(error).__name__}: {error}", logging.ERROR, error)
            raise
        finally:
            if warnings.showwarning is shown:
                warnings.showwarning = show
            root.removeHandler(handler)
            root.setLevel(level)
            self._handler = None
            handler.close()
            self.close()

    def start(
        self, settings: Mapping[str, Any], data: Mapping[str, Any], *, device: str = "cpu", precision: str = "fp32"
    ) -> None:
        """Record what is about to run: settings, data, code and machine.

        A run goes on with what it began with, or not at all; only the places of the data may have changed.

        Args:
            settings: For ``config.yaml``: ``detector`` (a name), ``config``, ``recipe``, … in plain values.
            data: For ``data.json``: what it was trained and validated on, such as ``data``, ``fingerprint``
                (of the validation samples) and ``counts``.
            device: Where training happens, such as ``"cuda:0"``.
            precision: Of the forward pass.

        Raises:
            DeepfakeError: The run began with other settings or other data, or a file cannot be written.
        """
        if not self.writes:
            return
        from deepfake_core.training.runs.environment import frozen_requirements, git_state, system_state

        text = to_yaml(settings)
        config = self.folder / "config.yaml"
        if config.exists():
            began, now = _completed(read_config(self.folder)), _completed(settings)
            changed = [key for key in ("detector", "config", "recipe", "start") if began.get(key) != now.get(key)]
            before = read_json(self.folder / "data.json")
            changed += [key for key in ("fingerprint", "counts") if before and before.get(key) != data.get(key)]
            if changed:
                raise DeepfakeError(
                    f"{self.folder}: the run began with another {' and another '.join(changed)}; go on with the "
                    "same settings (--start as well) and data, or begin a new run in another folder"
                )
        else:
            write_atomic(config, text)
        system = system_state(device, precision)
        write_atomic(self.folder / "requirements.txt", frozen_requirements())
        self.write_json("git.json", git_state())
        self.write_json("system.json", system)
        self.write_json("data.json", data)
        self._note(f"settings:\n{text}")
        mixed = f"mixed precision ({precision})" if system["mixed_precision"] else "full precision"
        log.info("training on %s (%s), %s", device, system["device_name"], mixed)  # 002-4

    def record_images(self, first: Sequence[str | Path], unreadable: Sequence[str] | Mapping[str, str]) -> None:
        """Write down some of the pictures that are trained on, and those that cannot be read (001-19).

        Args:
            first: The first pictures, for ``run.log``.
            unreadable: Unreadable files, or file → reason; added to those of earlier calls in ``unreadable.csv``.

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
        """Write ``metrics_log.csv`` anew from every validation so far (001-17).

        Numbers are written so that reading them gives the same bits. Columns are those of all rows, in the order
        of their first appearance; a value that a row does not have is empty.

        Raises:
            DeepfakeError: The file cannot be written.
        """
        if self.writes and history:
            write_atomic(self.folder / "metrics_log.csv", to_csv(history))

    def finish(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``metrics.json`` (004-9): ``history``, ``best_val_auc``, ``test_metrics`` and ``timestamp``.

        The history is that of ``metrics_log.csv``. What the file holds besides is kept.

        Args:
            summary: Further entries, such as ``test_metrics`` with ``auc`` and ``accuracy``, or ``best_val_auc``
                where it is not the greatest of the history.

        Returns:
            What was written; nothing in a process that does not write.

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
        """Write one file of the run; numbers that are not finite become ``null``, as JSON has none."""
        if self.writes:
            write_atomic(self.folder / name, json.dumps(finite(content), indent=2, ensure_ascii=False) + "\n")

    def _note(self, message: str, level: int = INFO, error: BaseException | None = None) -> None:
        """A line for ``run.log`` alone."""
        if self._handler is not None:
            trace = (type(error), error, error.__traceback__) if error is not None else None
            self._handler.handle(log.makeRecord("deepfake.run", level, "", 0, message, (), trace))


def _completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run that may have begun before the recipe had all of today's fields: their defaults are added."""
    try:
        recipe = TrainRecipe.model_validate(settings.get("recipe")).model_dump(mode="json")
    except ValidationError:
        return dict(settings)
    return {**settings, "recipe": recipe}


class _Lines(logging.Formatter):
    """Times to the second, with the zone."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="seconds")


def _end_torn_line(file: Path) -> None:
    """A writer that was killed may have left half a line."""
    if file.exists() and file.stat().st_size:
        with file.open("r+b") as stream:
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                stream.write(b"\n")

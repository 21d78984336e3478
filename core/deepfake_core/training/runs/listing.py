"""The runs below a folder: where they are, how far they got, and how much space they take."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.training.runs.entries import RunEntry, entry_of
from deepfake_core.training.runs.files import read_history, status
from deepfake_core.training.runs.record import BEST
from deepfake_core.training.runs.rundir import SHORTCUTS
from deepfake_registry.paths import as_typed, why_no_path

FILES: Mapping[str, str] = MappingProxyType(
    {
        "config.yaml": "all settings: detector, its hyper-parameters, the whole recipe, the data",
        "data.json": "the data: counts, a hash of all prepared samples, fingerprint of the validation samples",
        "git.json": "commit and branch of the code, and whether it was changed",
        "requirements.txt": "every installed package with its version",
        "system.json": "device, precision, library versions, threads",
        "run.log": "log with times: settings, phases, metrics, warnings, unreadable pictures",
        "unreadable.csv": "pictures that could not be read, with the reason",
        SHORTCUTS: "what tells the classes of the data and of the drawn samples apart besides forgery",
        "metrics_log.csv": "one row for each validation: losses, AUC, accuracy, learning rate, …",
        "metrics.json": "history, best_val_auc, test_metrics, steps and time, timestamp; written at the end",
        "metrics_test.json": "metrics of the best model on the test split, measured once",
        "predictions.csv": "the score of every test sample",
        "validation_scores.npz": "logit, label and family of every validation sample at the best model",
        "left_out.json": "figures on the source that was left out of the run; dfbench leave-one-out writes them",
        "left_out_scores.npz": "the score of each face of that source, and of the real faces that it is compared with",
        "last.pt": "resume state of the last checkpoint; needed only to go on with the run",
        "best.safetensors": "weights of the best validation",
        "model/": "the packaged model: load it, judge with it, export it",
        "explain/": "overlays of validation samples with P(fake)",
        "tensorboard/": "event files of the curves",
        "trackers.json": "run ids of MLflow and Weights & Biases, so that a resumed run goes on there",
        "wandb/": "files of Weights & Biases, when that tracker is used",
        "cache/": "crops and reconstructions, made again when they are missing",
    }
)
"""Files and folders of a run → their purpose."""


@dataclass(frozen=True)
class RunInfo:
    """One run as a listing shows it.

    Attributes:
        folder: Folder of the run.
        status: Status of the run; ``damaged`` when its files cannot be read.
        entry: The run as the record describes it; ``None`` when it is damaged.
        step: Number of optimiser steps at the last validation.
        changed: Time at which the run finished, or else was last written to.
        size_bytes: Size of all files.
        last_bytes: Size of the resume state alone.
        cache_bytes: Size of the cache alone.
        reason: Why the run counts as damaged; empty otherwise.
    """

    folder: Path
    status: Literal["running", "finished", "interrupted", "damaged"]
    entry: RunEntry | None
    step: int
    changed: datetime
    size_bytes: int
    last_bytes: int
    cache_bytes: int
    reason: str = ""


def find_runs(runs: str | Path) -> list[Path]:
    """Return the folders of the runs at or below ``runs``, in alphabetical order; promoted models are not runs.

    Raises:
        DeepfakeError: The folder does not exist.
    """
    runs = Path(runs)
    if not runs.is_dir():
        reason = why_no_path(runs) or "no such folder; name the folder that holds the runs"
        raise DeepfakeError(f"{as_typed(runs)}: {reason}")
    return list(_runs_in(runs))


def _runs_in(folder: Path) -> Iterator[Path]:
    if (folder / "config.yaml").is_file():
        yield folder
        return
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith(".") and inner.name != BEST:
            yield from _runs_in(inner)


def describe(folder: Path) -> RunInfo:
    """Return what a listing shows of a run.

    Raises:
        MissingExtra: The ``filelock`` package is absent.
    """
    sizes = {path: size for path in folder.rglob("*") if (size := _size_bytes(path)) is not None}
    log = folder / "run.log"
    written = (log if log.is_file() else folder).stat().st_mtime
    cached = sum(size for path, size in sizes.items() if path.is_relative_to(folder / "cache"))
    entry, step, reason = None, 0, ""
    state: Literal["running", "finished", "interrupted", "damaged"] = "damaged"
    try:
        state = status(folder)
        history = read_history(folder)
        step = int(history[-1].get("step", 0)) if history else 0
        entry = entry_of(folder)
        if state == "finished":
            written = datetime.fromisoformat(entry.timestamp).timestamp()
    except MissingExtra:
        raise
    except (DeepfakeError, ValueError, TypeError) as error:
        state, reason = "damaged", str(error)
    changed = datetime.fromtimestamp(written, UTC)
    last = sizes.get(folder / "last.pt", 0)
    return RunInfo(folder, state, entry, step, changed, sum(sizes.values()), last, cached, reason)


def _size_bytes(path: Path) -> int | None:
    """Return the size of a file; ``None`` for anything else, and for a file that a running run has just replaced."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None

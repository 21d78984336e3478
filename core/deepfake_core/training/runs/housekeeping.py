"""Looking after finished runs: what is there, what can go, and one archive of what should stay."""

from __future__ import annotations

import math
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.training.runs.record import BEST, RunEntry, entry_of
from deepfake_core.training.runs.runfiles import LOCK, lock_run, read_config, read_history, read_json, status
from deepfake_registry.files import atomic_path, sha256_file

FILES: Mapping[str, str] = MappingProxyType(
    {
        "config.yaml": "every setting: detector, its hyper-parameters, the whole recipe, the data",
        "data.json": "what the data were: counts, a hash of all that was prepared, fingerprint of validation",
        "git.json": "commit and branch of the code, and whether it was changed",
        "requirements.txt": "every installed package with its version",
        "system.json": "device, precision, library versions, threads",
        "run.log": "what happened, with times: settings, phases, metrics, warnings, unreadable pictures",
        "unreadable.csv": "pictures that could not be read, with the reason",
        "metrics_log.csv": "one row for each validation: losses, AUC, accuracy, learning rate, …",
        "metrics.json": "history, best_val_auc, test_metrics, timestamp; written when the run finishes",
        "metrics_test.json": "the test split, measured once with the best model",
        "predictions.csv": "the score of every test sample",
        "validation_scores.npz": "logit, label and family of every validation sample at the best model",
        "last.pt": "resume state of the last checkpoint; needed only to go on",
        "best.safetensors": "weights of the best validation",
        "model/": "the packaged model: load it, judge with it, export it",
        "explain/": "overlays of validation samples with P(fake)",
        "tensorboard/": "event files of the curves",
        "trackers.json": "run ids of MLflow and Weights & Biases, so that a resumed run goes on there",
        "wandb/": "what Weights & Biases keeps, when it is asked for",
        "cache/": "crops and reconstructions, made again when they are missing",
    }
)
"""What a run's folder holds, and what for."""

ARCHIVED = (
    "config.yaml", "data.json", "git.json", "requirements.txt", "system.json", "metrics_log.csv", "metrics.json",
    "metrics_test.json",
)  # fmt: skip
"""What an archive holds beside the model: nothing that names single pictures."""

_NEVER_ARCHIVED = ("cache", "wandb", LOCK)


@dataclass(frozen=True)
class RunInfo:
    """One run as a listing shows it.

    Attributes:
        folder: Where it is.
        status: ``damaged`` when its files cannot be read; ``reason`` says why.
        entry: As the record has it; ``None`` when it is damaged.
        step: Optimiser steps at the last validation.
        changed: When it finished, or was last written to.
        size_bytes: All of its files.
        last_bytes: Its resume state alone.
        cache_bytes: Its cache alone.
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
    """Folders of runs at or below ``runs``, in alphabetical order; the promoted models are no runs.

    Raises:
        DeepfakeError: The folder cannot be listed.
    """
    runs = Path(runs)
    if not runs.is_dir():
        raise DeepfakeError(f"{runs}: no such folder; name the folder that holds the runs")
    return list(_runs_in(runs))


def _runs_in(folder: Path) -> Iterator[Path]:
    if (folder / "config.yaml").is_file():
        yield folder
        return
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith(".") and inner.name != BEST:
            yield from _runs_in(inner)


def describe(folder: Path) -> RunInfo:
    """What a listing shows of a run.

    Raises:
        MissingExtra: The ``filelock`` or ``pyyaml`` package is absent.
    """
    sizes = {path: size for path in folder.rglob("*") if (size := _size(path)) is not None}
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


def _size(path: Path) -> int | None:
    """Bytes of a file; ``None`` for all else, and for what a running run has just replaced."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def to_prune(runs: list[RunInfo], keep: int, *, cache: bool = False) -> list[RunInfo]:
    """Finished runs whose resume state (and cache) can go: all but the ``keep`` that finished last (001-33)."""
    finished = sorted((run for run in runs if run.status == "finished"), key=lambda run: run.changed, reverse=True)
    return [run for run in finished[keep:] if run.last_bytes or (cache and run.cache_bytes)]


def prune(run: RunInfo, *, cache: bool = False) -> int:
    """Delete a finished run's resume state, and its cache when asked; gives the bytes that were freed.

    Raises:
        DeepfakeError: Another process goes on with the run.
    """
    lock = lock_run(run.folder)
    try:
        (run.folder / "last.pt").unlink(missing_ok=True)
        crops = run.folder / "cache"
        if cache and crops.is_dir() and not crops.is_symlink():
            shutil.rmtree(crops)
    finally:
        lock.release()
    return run.last_bytes + (run.cache_bytes if cache else 0)


def archive(folder: str | Path, out: str | Path, *, everything: bool = False) -> Path:
    """Write one ZIP file of a run: model, settings, metrics and a README (004-10).

    The same run gives the same bytes. Members are stored as they are (weights do not compress) below a folder of
    the run's name; links are left out.

    Args:
        folder: The run's folder.
        out: The file to write.
        everything: Add all other files of the run but its cache: log, curves, overlays, resume state, predictions.
            They may name single pictures of the data.

    Raises:
        DeepfakeError: The folder holds no run, it is running, or it has no model yet.
    """
    folder, out = Path(folder), Path(out)
    settings = read_config(folder)
    if status(folder) == "running":
        raise DeepfakeError(f"{folder}: the run is still being written; archive it when it has ended")
    files = {name: path for name, path in _members(folder, everything).items() if path.resolve() != out.resolve()}
    if not any(name.startswith("model/") or name == "best.safetensors" for name in files):
        raise DeepfakeError(f"{folder}: has no model yet; go on with the run by --resume")
    name = folder.resolve().name
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w") as target:
        target.writestr(_member(f"{name}/README.md"), _readme(folder, settings, files))
        for inner, path in sorted(files.items()):
            information = _member(f"{name}/{inner}")
            information.file_size = path.stat().st_size  # lets the archive know whether it needs 64 bits
            with path.open("rb") as source, target.open(information, "w") as sink:
                shutil.copyfileobj(source, sink, 2**20)
    return out


def _members(folder: Path, everything: bool) -> dict[str, Path]:
    root = folder.resolve()
    found: dict[str, Path] = {}
    for path in folder.rglob("*"):
        inner = path.relative_to(folder)
        inside = path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(root)
        wanted = everything or inner.parts[0] == "model" or inner.as_posix() in ARCHIVED
        if inside and wanted and inner.parts[0] not in _NEVER_ARCHIVED:
            found[inner.as_posix()] = path
    best = folder / "best.safetensors"
    if not any(name.startswith("model/") for name in found) and best.is_file() and not best.is_symlink():
        found["best.safetensors"] = best
    return found


def _member(name: str) -> zipfile.ZipInfo:
    information = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    information.create_system = 3  # the same on every system
    information.external_attr = 0o644 << 16
    return information


def _readme(folder: Path, settings: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    entry = entry_of(folder)
    metrics = read_json(folder / "metrics.json")
    measured = {f"validation {entry.monitor} (best)": entry.value}
    measured |= {f"test {key}": value for key, value in (metrics.get("test_metrics") or {}).items()}
    numbers = [f"| {key} | {value:.4f} |" for key, value in measured.items() if _is_number(value)]
    sums = [f"| `{name}` | {_about(name)} | `{sha256_file(path)}` |" for name, path in sorted(files.items())]
    facts = {
        "detector": entry.detector,
        "version": entry.model,
        "data": entry.data or settings.get("data"),
        "validation samples": entry.fingerprint,
        "code": entry.git,
        "finished": metrics.get("timestamp"),
    }
    return "\n".join(
        [
            f"# {folder.resolve().name}",
            "",
            *(f"- {key}: {value}" for key, value in facts.items() if value),
            "",
            "| metric | value |",
            "|---|---|",
            *numbers,
            "",
            "Judge pictures with the model in `model/`:",
            "",
            "```sh",
            "dfbench predict photo.jpg --detector ./model",
            "```",
            "",
            "| file | what it is | sha256 |",
            "|---|---|---|",
            *sums,
            "",
        ]
    )


def _about(name: str) -> str:
    return FILES.get(name) or FILES.get(f"{name.partition('/')[0]}/", "").partition(":")[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)

"""One ZIP file of what should be kept of a run."""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake_core.errors import DeepfakeError
from deepfake_core.training.runs.entries import advice_of, entry_of
from deepfake_core.training.runs.files import read_json, status
from deepfake_core.training.runs.listing import FILES
from deepfake_core.training.runs.locks import LOCK
from deepfake_core.training.runs.rundir import SHORTCUTS
from deepfake_core.training.runs.stored import read_config
from deepfake_registry.files import atomic_path, sha256_file

ARCHIVED = (
    "config.yaml", "data.json", "git.json", "requirements.txt", "system.json", SHORTCUTS, "metrics_log.csv",
    "metrics.json", "metrics_test.json",
)  # fmt: skip
"""Files of an archive beside the model; none of them names single pictures."""

_NEVER_ARCHIVED = ("cache", "wandb", LOCK)


def archive(folder: str | Path, out: str | Path, *, everything: bool = False) -> Path:
    """Write one ZIP file of a run, with its model, settings, metrics and a README, and return its path.

    The same run gives the same bytes. The members lie below a folder of the run's name and are not compressed, because
    weights do not compress. Links are left out.

    Args:
        folder: Folder of the run.
        out: File to write.
        everything: Whether to add all other files of the run except its cache: log, curves, overlays, resume state,
            predictions. They may name single pictures of the data.

    Raises:
        DeepfakeError: The folder holds no run, the run is being written to, or it has no model yet.
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
            information.file_size = path.stat().st_size  # from the size, zipfile decides whether it needs 64 bits
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
            *(line for said in advice_of(folder) for line in (f"{said[0].upper()}{said[1:]}.", "")),
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

"""Reading what runs left behind, and the lock that keeps two writers apart."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepfake_core.errors import DeepfakeError, MissingExtra

if TYPE_CHECKING:
    from filelock import FileLock

log = logging.getLogger("deepfake.training")

LOCK = ".lock"
LOCK_WAIT_S = 10.0
"""How long to wait for the writer before: after a kill, its loading processes take some seconds to notice."""

Status = Literal["running", "finished", "interrupted"]


def status(folder: str | Path) -> Status:
    """Whether a run is being written now, has come to its end, or was cut off.

    Raises:
        MissingExtra: The ``filelock`` package is absent.
    """
    folder = Path(folder)
    lock = lock_of(folder / LOCK)
    if (folder / LOCK).exists():
        from filelock import Timeout

        try:
            with lock.acquire(timeout=0):
                pass
        except Timeout:
            return "running"
        except OSError as error:  # a folder of another user, or a file system that is mounted for reading
            log.debug("%s: cannot be locked (%s)", folder, error)
    return "finished" if "timestamp" in read_json(folder / "metrics.json") else "interrupted"


def read_config(folder: str | Path) -> dict[str, Any]:
    """Settings of a run, from its ``config.yaml``.

    Raises:
        DeepfakeError: There is none, or it is damaged.
        MissingExtra: The ``pyyaml`` package is absent.
    """
    file = Path(folder) / "config.yaml"
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingExtra("reading a run's settings", "deepfake-core[torch]") from None
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DeepfakeError(f"{folder}: holds no run (no {file.name}); name the folder of a run") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DeepfakeError(f"{file}: cannot be read ({_first_line(error)}); restore it, or begin a new run") from error
    if not isinstance(found, dict):
        raise DeepfakeError(f"{file}: holds no settings; restore it, or begin a new run")
    return found


def read_history(folder: str | Path) -> list[dict[str, float]]:
    """Rows of ``metrics_log.csv`` as numbers, to the bit; empty before the first validation.

    Raises:
        DeepfakeError: The file is damaged.
    """
    file = Path(folder) / "metrics_log.csv"
    try:
        return [{name: float(value) for name, value in row.items() if value} for row in read_csv(file)]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise DeepfakeError(
            f"{file}: cannot be read ({_first_line(error)}); go on with the run to write it anew"
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    """One of a run's JSON files; empty when there is none.

    Raises:
        DeepfakeError: The file is damaged.
    """
    try:
        found = json.loads(file.read_bytes())
        if not isinstance(found, dict):
            raise TypeError("it holds no table")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise DeepfakeError(f"{file}: cannot be read ({_first_line(error)}); restore or remove it") from error
    return found


def read_csv(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by their column's name."""
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return list(csv.DictReader(stream))


def to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows under the columns of all of them, in the order of their first appearance; floats to the bit."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # the writer gives floats as repr does, which reads back to the same bits
    return text.getvalue().encode("utf-8", "surrogateescape")


def to_yaml(settings: Mapping[str, Any]) -> str:
    """Plain values as YAML, in their order.

    Raises:
        MissingExtra: The ``pyyaml`` package is absent.
    """
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingExtra("training", "deepfake-core[torch]") from None
    text: str = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
    return text


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested settings under dotted names: ``{"recipe": {"seed": 1}}`` → ``{"recipe.seed": 1}``."""
    if isinstance(value, Mapping) and value:
        inner = list(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        inner = list(enumerate(value))
    else:
        return {name: value}
    parts = (flat(part, f"{name}.{key}" if name else str(key)) for key, part in inner)
    return {key: leaf for part in parts for key, leaf in part.items()}


def finite(value: Any) -> Any:
    """The value with every number that is not finite replaced by ``None``, as JSON has no such numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


# ── one writer ───────────────────────────────────────────────────────────────────────────────────────────────────


def lock_of(file: Path) -> FileLock:
    """A lock, not yet taken.

    Raises:
        MissingExtra: The ``filelock`` package is absent.
    """
    try:
        from filelock import FileLock
    except ModuleNotFoundError:
        raise MissingExtra("a run's folder", "deepfake-core[torch]") from None
    return FileLock(file, thread_local=False)


def locked(file: Path, busy: str, wait_s: float) -> FileLock:
    """Take a lock; whoever takes it releases it.

    Args:
        file: Made when it does not exist.
        busy: What to say when another process has it.
        wait_s: How long to wait for that process.

    Raises:
        DeepfakeError: Another process has it, or its folder cannot be written.
        MissingExtra: The ``filelock`` package is absent.
    """
    lock = lock_of(file)
    from filelock import Timeout

    try:
        lock.acquire(timeout=wait_s, poll_interval=0.1)
    except Timeout:
        raise DeepfakeError(busy) from None
    except OSError as error:
        raise DeepfakeError(f"{file.parent}: cannot be written ({error.strerror}); name another folder") from error
    return lock


def lock_run(folder: Path) -> FileLock:
    """Take the lock of a run's folder.

    Raises:
        DeepfakeError: Another process has it, or the folder cannot be written.
        MissingExtra: The ``filelock`` package is absent.
    """
    busy = f"{folder}: another process writes to this run; wait for it, stop it, or name another folder"
    return locked(folder / LOCK, busy, LOCK_WAIT_S)


def refuse_leftovers(folder: Path, *, resume: bool) -> None:
    """Refuse a folder whose files are not those of a run that is to go on.

    Raises:
        DeepfakeError: It is a file, holds anything without ``resume``, or holds no run or a finished one that has no
            resume state any more with it.
    """
    if folder.exists() and not folder.is_dir():
        raise DeepfakeError(f"{folder}: is a file; name a folder for the run")
    names = {path.name for path in folder.iterdir() if path.name != LOCK} if folder.is_dir() else set()
    if names and not resume:
        raise DeepfakeError(f"{folder}: is not empty; go on with its run by --resume, or name another folder")
    if names and not names & {"run.log", "config.yaml"}:
        raise DeepfakeError(f"{folder}: holds no run to go on with; name the folder of one, or an empty one")
    if names and "last.pt" not in names and "timestamp" in read_json(folder / "metrics.json"):
        raise DeepfakeError(
            f"{folder}: has finished, and its last.pt was deleted; train on from its model in another folder by --start"
        )

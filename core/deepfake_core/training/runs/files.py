"""The JSON and CSV files of a run, and the run's status."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from deepfake_core.errors import DeepfakeError
from deepfake_core.locks import lock_of
from deepfake_core.training.runs.locks import LOCK

log = logging.getLogger("deepfake.training")

Status = Literal["running", "finished", "interrupted"]


def status(folder: str | Path) -> Status:
    """Return whether a run is being written to, has finished, or was interrupted.

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
        except OSError as error:  # the folder belongs to another user, or the file system is read-only
            log.debug("%s: cannot be locked (%s)", folder, error)
    return "finished" if "timestamp" in read_json(folder / "metrics.json") else "interrupted"


def read_history(folder: str | Path) -> list[dict[str, float]]:
    """Return the metrics of each validation from ``metrics_log.csv``, exact to the bit.

    The list is empty before the first validation.

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
            f"{file}: cannot be read ({first_line(error)}); go on with the run to write it anew"
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    """Return the content of one of a run's JSON files; it is empty when the file does not exist.

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
        raise DeepfakeError(f"{file}: cannot be read ({first_line(error)}); restore or remove it") from error
    return found


def read_csv(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, each as column name → value."""
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return list(csv.DictReader(stream))


def to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV.

    The columns are those of all rows, in the order of their first appearance. Floats are written so that reading them
    gives the same bits.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # csv writes floats by repr, which is exact
    return text.getvalue().encode("utf-8", "surrogateescape")


def finite(value: Any) -> Any:
    """Return the value with every number that is not finite replaced by ``None``, because JSON has no such numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class where it has no message."""
    return (str(error) or type(error).__name__).splitlines()[0]

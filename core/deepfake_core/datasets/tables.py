"""Read a CSV file row by row, strictly."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepfake_core.errors import TrainingDataError


def header(path: Path) -> list[str]:
    """Names of the columns, or nothing where the file is no CSV file."""
    try:
        return next(_lines(path))[1]
    except (TrainingDataError, StopIteration):
        return []


def rows(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield ``(line, cells by column)``; blank lines are passed over, and cells keep no outer blanks.

    Args:
        path: UTF-8, with commas and a header.
        required: Columns that must be there.

    Raises:
        TrainingDataError: The file cannot be read, lacks a column, or a row has another number of cells.
    """
    lines = _lines(path)
    try:
        _, columns = next(lines)
    except StopIteration:
        raise TrainingDataError(f"{path}: is empty; expected the columns {', '.join(required)}") from None
    missing = [name for name in required if name not in columns]
    if missing:
        found = ", ".join(repr(name) for name in columns)
        raise TrainingDataError(
            f"{path}: no column {' and no column '.join(map(repr, missing))}; its columns are {found}"
        )
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise TrainingDataError(f"{path}: column {twice[0]!r} is there twice; keep one")
    for line, cells in lines:
        if len(cells) != len(columns):
            raise TrainingDataError(f"{path}: row {line} has {len(cells)} cells, the header {len(columns)}; correct it")
        yield line, dict(zip(columns, cells, strict=True))


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            # Strict: a quote that is never closed would otherwise swallow the rest of the file.
            reader = csv.reader(stream, strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, [cell.strip() for cell in cells]
    except UnicodeDecodeError as error:
        raise TrainingDataError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise TrainingDataError(f"{path}: row {reader.line_num}: {error}; correct it") from error
    except OSError as error:
        raise TrainingDataError(f"{path}: cannot be read ({error.strerror}); name an existing CSV file") from error

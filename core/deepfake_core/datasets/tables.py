"""Read a CSV file row by row, with an error for every irregularity."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepfake_core.errors import TrainingDataError


def header(path: Path) -> list[str]:
    """Return the names of the columns, or an empty list if the file is no CSV file."""
    try:
        return next(_lines(path))[1]
    except (TrainingDataError, StopIteration):
        return []


def rows(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield ``(line, cells by column)`` for every row. Blank lines are skipped, and cells are stripped of outer blanks.

    Args:
        path: CSV file in UTF-8, with commas and a header.
        required: Names of the columns that the file must have.

    Raises:
        TrainingDataError: The file cannot be read, a required column is missing, or a row and the header have different
            numbers of cells.
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
            # Without strict, a quote that is never closed would silently swallow the rest of the file.
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

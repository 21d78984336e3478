"""Read a CSV file row by row, with an error for every irregularity."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepfake_core.errors import TrainingDataError
from deepfake_registry.paths import as_typed, why_no_path

_SEPARATORS = (",", ";", "\t")
_QUOTED = re.compile(r'"[^"]*"')
# Marks at the beginning of a file that tell its encoding, as spreadsheets write them.
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def header(path: Path) -> list[str]:
    """Return the names of the columns, or an empty list if the file is no CSV file."""
    try:
        return next(_lines(path))[1]
    except (TrainingDataError, StopIteration):
        return []


def rows(
    path: Path, required: Sequence[str], *, any_case: bool = False, remedy: str = ""
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield ``(line, cells by column)`` for every row. Blank lines are skipped, and cells are stripped of outer blanks.

    Args:
        path: CSV file in UTF-8, or in UTF-16 with a byte order mark, with a header. Its cells are separated by commas,
            semicolons or tabs: by whichever the header has most of.
        required: Names of the columns that the file must have.
        any_case: Whether the names of columns are put into lower case, so that ``Path`` is ``path``.
        remedy: What to do about a missing column, for the message.

    Raises:
        TrainingDataError: The file cannot be read, a required column is missing, or a row and the header have different
            numbers of cells.
    """
    lines = _lines(path)
    try:
        _, columns = next(lines)
    except StopIteration:
        raise TrainingDataError(f"{path}: is empty; expected the columns {', '.join(required)}") from None
    names = [name.lower() for name in columns] if any_case else columns
    missing = [name for name in required if name not in names]
    if missing:
        found = ", ".join(repr(name) for name in columns)
        raise TrainingDataError(
            f"{path}: no column {' and no column '.join(map(repr, missing))}; its columns are {found}"
            f"{'; ' if remedy else ''}{remedy}"
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise TrainingDataError(f"{path}: column {twice[0]!r} is there twice; keep one")
    for line, cells in lines:
        if len(cells) != len(names):
            raise TrainingDataError(f"{path}: row {line} has {len(cells)} cells, the header {len(names)}; correct it")
        yield line, dict(zip(names, cells, strict=True))


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open("rb") as file:
            head = file.read(4)
        encoding = _MARKS.get(head[:2], "utf-8-sig")
        if encoding == "utf-8-sig" and b"\0" in head:
            raise TrainingDataError(f"{path}: is not UTF-8 text, but perhaps UTF-16 without a mark; save it as UTF-8")
        with path.open(encoding=encoding, newline="") as stream:
            first = next((line for line in stream if line.strip()), "")
            stream.seek(0)
            # Without strict, a quote that is never closed would silently swallow the rest of the file.
            reader = csv.reader(stream, delimiter=max(_SEPARATORS, key=_QUOTED.sub("", first).count), strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, [cell.strip() for cell in cells]
    except UnicodeError as error:
        raise TrainingDataError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise TrainingDataError(f"{path}: row {reader.line_num}: {error}; correct it") from error
    except OSError as error:
        reason = why_no_path(path) or f"cannot be read ({error.strerror}); name an existing CSV file"
        raise TrainingDataError(f"{as_typed(path)}: {reason}") from error

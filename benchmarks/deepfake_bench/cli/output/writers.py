"""Writers that print the results of ``dfbench predict``, one for each ``--format``.

Each writer is a context manager: leaving it, also by Ctrl-C, completes the output.
"""

from __future__ import annotations

import csv
import json
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Self, TextIO

import typer

from deepfake_bench.cli.output.text import PROSE, end_of, fit, note, terminal_width, wrapped
from deepfake_bench.printable import printable
from deepfake_core.handle.results import COLUMNS, FaceResult, Result, to_row
from deepfake_core.handle.words import tally

STYLES: Mapping[str, Mapping[str, Any]] = {
    "fake": {"fg": "red", "bold": True},
    "real": {"fg": "green"},
    "unsure": {"fg": "yellow"},
    "no_face": {"dim": True},
    "error": {"fg": "red", "dim": True},
}
"""Verdict → how a terminal shows it: arguments of ``typer.style``."""


class Writer(ABC):
    """Base class of the writers, which receive results one by one and print them to ``stream``."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    @abstractmethod
    def row(self, result: Result) -> None:
        """Receive one result."""

    def finish(self) -> None:
        """Complete the output."""
        self.stream.flush()


class JsonLines(Writer):
    """Writer of one JSON object per line, at once. It is ASCII only, so that no file name can control a terminal."""

    def row(self, result: Result) -> None:
        self.stream.write(_to_json(result) + "\n")
        self.stream.flush()


class JsonArray(Writer):
    """Writer of one JSON array, element by element."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.stream.write("[")
        self.separator = "\n  "

    def row(self, result: Result) -> None:
        self.stream.write(self.separator + _to_json(result))
        self.stream.flush()
        self.separator = ",\n  "

    def finish(self) -> None:
        self.stream.write("\n]\n")
        super().finish()


class Csv(Writer):
    """Writer of one row for each file, at once, with the columns of ``Results.to_pandas()``.

    File names are written as they are, except to a terminal, where they are made printable.
    """

    DIGITS: Mapping[str, int] = {
        **dict.fromkeys(("p_fake", "logit"), 6),
        **dict.fromkeys(("x", "y", "box_width", "box_height"), 1),
        "time_s": 3,
    }
    """Number of decimal places of a column; other numbers are written in full."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.shown: Callable[[str], str] = printable if stream.isatty() else str
        self.writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        self.writer.writeheader()

    def row(self, result: Result) -> None:
        self.writer.writerow({name: self._cell(name, value) for name, value in to_row(result).items()})
        self.stream.flush()

    def _cell(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            return self.shown(value)
        return value if value is None or name not in self.DIGITS else f"{value:.{self.DIGITS[name]}f}"


class Table(Writer):
    """Writer of an aligned table, printed at the end because its widths depend on every row.

    Below it are what the scores mean, and the number of files with each verdict if there are many. Of each result only
    the text of its cells is kept. Where a terminal is too narrow, columns are left out, see
    :data:`~deepfake_bench.cli.output.text.GIVE_WAY`, and of the longest paths only the end is shown. A file or a pipe
    gets everything, in one line for each file.
    """

    COLUMNS = ("file", "verdict", "P(fake)", "spread", "faces", "frames", "box", "reason")
    OPTIONAL = ("spread", "frames", "reason")
    """Columns that are left out where they would be empty."""
    MANY = 10
    """Number of files from which on they are counted."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.rows: list[tuple[str, ...]] = []
        self.verdicts: Counter[str] = Counter()
        self.notes: dict[str, None] = {}  # a set that keeps the order

    def row(self, result: Result) -> None:
        face = deciding_face(result)
        self.rows.append(
            (
                printable(result.source),
                result.verdict,
                "" if result.p_fake is None else f"{result.p_fake:.1%}",
                _spread(face),
                "" if result.error else f"{len(result.faces):,}",
                f"{result.frames:,}" if result.frames > 1 else "",
                "" if face is None else box_text(face),
                printable("; ".join(result.reasons)),
            )
        )
        self.verdicts[result.verdict] += 1
        self.notes |= dict.fromkeys(_notes(result))

    def finish(self) -> None:
        if self.rows:
            found = [cells for cells in zip(self.COLUMNS, *self.rows, strict=True) if _is_shown(cells)]
            counts = [tally(self.verdicts, "file")] if len(self.rows) >= self.MANY else []
            typer.echo(table_of_files(found, self.stream), file=self.stream)
            width = width_of(self.stream)
            if below := [*counts, *self.notes]:
                typer.echo(
                    "\n".join(["", *chain.from_iterable(wrapped(line, width) for line in below)]), file=self.stream
                )
        super().finish()


WRITERS: dict[str, type[Writer]] = {"table": Table, "json": JsonArray, "jsonl": JsonLines, "csv": Csv}


def open_writer(name: str) -> Writer:
    """Return the writer of one format on standard output."""
    return WRITERS[name](sys.stdout)


def deciding_face(result: Result) -> FaceResult | None:
    """Return the face that decided; for a video, the most suspicious one."""
    return result.faces[0] if result.faces else None


def box_text(face: FaceResult) -> str:
    """``412,118 203×251``: left, top, width, height in pixels."""
    box = face.box
    return f"{box.x:.0f},{box.y:.0f} {box.width:.0f}×{box.height:.0f}"


def _spread(face: FaceResult | None) -> str:
    """Return the spread of P(fake) over the members of an ensemble."""
    return "" if face is None or face.spread is None else f"{face.spread:.1%}"


def _notes(result: Result) -> Iterator[str]:
    """Say what the score of a result means, and which of several scores it is."""
    if result.weights == "untrained":
        yield "The weights are untrained: these scores mean nothing."
    elif result.p_fake is not None and result.scale:
        yield f"{printable(result.detector)}: {result.scale}."
    if result.p_fake is None or not result.faces:
        return
    unit = "clip" if result.faces[0].frames else "frame"
    if result.frames > 1:
        yield f"Several {unit}s: the mean of the highest score in each counts; the box is that of the highest of all."
    elif len(result.faces) > 1:
        yield "Several faces in a picture: the highest score counts; the box (left,top width×height) is that face."
    if _spread(result.faces[0]):
        yield "Spread: the largest minus the smallest P(fake) of the members, for that face."


def _is_shown(cells: Sequence[str]) -> bool:
    return cells[0] not in Table.OPTIONAL or any(cells[1:])


def table_of_files(found: Sequence[Sequence[str]], stream: TextIO) -> str:
    """Return a table whose first column are files; of those that have no room in a terminal, the end is shown.

    Args:
        found: Columns, each with its heading first.
        stream: Stream that it will be printed to.
    """
    width = width_of(stream)
    whole = fit(_shortened(found, width), width, STYLES)
    kept = [cells for cells in found if cells[0] not in whole.left_out]
    text = fit(_shortened(kept, width), width, STYLES).text
    return "\n".join(filter(None, (text, note(whole.left_out, whole.needed, "--format json"))))


def width_of(stream: TextIO) -> int:
    """Return the columns of a terminal; in a file or a pipe, each row is one line."""
    return terminal_width() if stream.isatty() else 100_000


def _shortened(found: Sequence[Sequence[str]], width: int) -> list[tuple[str, ...]]:
    """Return columns as rows, with the ends of those files that have no room beside the other columns."""
    widest = {cells[0]: max(map(len, cells)) for cells in found[1:]}
    beside = sum(2 + (min(most, width // 3) if name in PROSE else most) for name, most in widest.items())
    files = [end_of(file, max(width - beside, 20)) for file in found[0]]
    return list(zip(files, *found[1:], strict=True))


def _to_json(result: Result) -> str:
    record = result.to_dict()
    record["timings_ms"] = {stage: round(spent, 3) for stage, spent in record["timings_ms"].items()}
    return json.dumps(record)

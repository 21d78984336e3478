"""Writers that print the results of ``dfbench predict``, one for each ``--format``.

Each writer is a context manager: leaving it, also by Ctrl-C, completes the output.
"""

from __future__ import annotations

import csv
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

from deepfake_bench.printable import printable
from deepfake_core.handle.results import FaceResult, Result

STYLES = {"fake": "bold red", "real": "green", "unsure": "yellow", "no_face": "dim", "error": "dim red"}


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
    """Writer of one row for each file, at once; its box is that of the deciding face.

    File names are written as they are, except to a terminal, where they are made printable.
    """

    COLUMNS = (
        "source", "verdict", "p_fake", "logit", "faces", "x", "y", "width", "height", "frames", "time_s", "detector",
        "weights", "error", "warnings", "faces_left_out",
    )  # fmt: skip

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.shown: Callable[[str], str] = printable if stream.isatty() else str
        self.writer = csv.writer(stream, lineterminator="\n")
        self.writer.writerow(self.COLUMNS)

    def row(self, result: Result) -> None:
        face = deciding_face(result)
        box: tuple[Any, ...] = ("",) * 4
        if face is not None:
            box = tuple(f"{value:.1f}" for value in (face.box.x, face.box.y, face.box.width, face.box.height))
        self.writer.writerow(
            (
                self.shown(result.source),
                result.verdict,
                "" if result.p_fake is None else f"{result.p_fake:.6f}",
                "" if face is None else f"{face.logit:.6f}",
                len(result.faces),
                *box,
                result.frames,
                "" if face is None or face.time_s is None else f"{face.time_s:.3f}",
                result.detector,
                result.weights,
                self.shown(result.error),
                self.shown("; ".join(result.warnings)),
                result.faces_left_out,
            )
        )
        self.stream.flush()


class Table(Writer):
    """Writer of an aligned table, printed at the end because its widths depend on every row.

    Of each result only the text of its cells is kept.
    """

    COLUMNS = ("file", "verdict", "P(fake)", "spread", "faces", "box", "reason")
    OPTIONAL = ("spread", "reason")
    """Columns that are left out where they would be empty."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.rows: list[tuple[str, ...]] = []
        self.untrained = False

    def row(self, result: Result) -> None:
        face = deciding_face(result)
        self.rows.append(
            (
                printable(result.source),
                result.verdict,
                "" if result.p_fake is None else f"{result.p_fake:.1%}",
                _spread(face),
                str(len(result.faces)),
                "" if face is None else box_text(face),
                printable("; ".join(filter(None, (result.error, *result.warnings)))),
            )
        )
        self.untrained |= result.weights == "untrained"

    def finish(self) -> None:
        from rich.table import Table as RichTable
        from rich.text import Text

        if self.rows:
            shown = [
                place
                for place, name in enumerate(self.COLUMNS)
                if name not in self.OPTIONAL or any(row[place] for row in self.rows)
            ]
            table = RichTable(box=None, header_style="bold", pad_edge=False)
            for name in (self.COLUMNS[place] for place in shown):
                folds = name in ("file", "reason")
                table.add_column(
                    name,
                    overflow="fold" if folds else "ellipsis",
                    no_wrap=not folds,
                    justify="left" if folds or name == "verdict" else "right",
                )
            for row in self.rows:
                table.add_row(*(Text(row[place], style=STYLES[row[1]] if place == 1 else "") for place in shown))
            wide_console(self.stream).print(table)
        if self.untrained:
            self.stream.write("The weights are untrained: these scores mean nothing.\n")
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


def wide_console(stream: TextIO, least: int = 0) -> Any:
    """Return a Rich console that fits a terminal, and folds nothing when the output goes to a file or a pipe.

    Args:
        stream: Stream to print to.
        least: Smallest width in columns; a narrower terminal breaks the lines itself.
    """
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    console.width = max(console.width, least) if stream.isatty() else 100_000
    return console


def _to_json(result: Result) -> str:
    record = result.to_dict()
    record["timings_ms"] = {stage: round(spent, 3) for stage, spent in record["timings_ms"].items()}
    return json.dumps(record)

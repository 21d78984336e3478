"""Figures and their goals: a table in Markdown that grows while it is measured, and the same rows as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from deepfake_bench.runner.machine import describe_machine
from deepfake_core.runtimes.cpu_contention import BUSY, CpuContention, busy_with_others
from deepfake_registry.files import write_atomic


class Goal(NamedTuple):
    """Bound that a figure has to keep."""

    sign: str
    bound: float

    def holds(self, value: float) -> bool:
        """Return whether a figure keeps the bound."""
        return value >= self.bound if self.sign == "≥" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:.3g}"


NOT_SLOWER = Goal("≤", 1.05)  # a twentieth is left for noise, as in the choice of a backend


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: Name of the figure.
        value: The figure; ``None`` where there is none, and ``note`` says why.
        unit: Unit of the figure; empty for a ratio.
        goal: Bound that it has to keep; a figure without one explains others.
        note: Remark on the figure.
        timed: Whether other work on the machine changes it.
    """

    what: str
    value: float | None
    unit: str = ""
    goal: Goal | None = None
    note: str = ""
    timed: bool = True

    def verdict(self, idle: bool = True) -> str:
        """Return ``met`` or ``missed``; empty without a goal, and the reason where the machine was not idle."""
        if self.goal is None or self.value is None:
            return ""
        if self.timed and not idle:
            return "machine not idle"
        return "met" if self.goal.holds(self.value) else "missed"

    def line(self, idle: bool = True) -> str:
        """Return the line as Markdown."""
        verdict = self.verdict(idle)
        if self.value is None:
            shown = self.note
        else:
            shown = f"{self.value:.4g}{self.unit and ' ' + self.unit}{self.note and f' ({self.note})'}"
        cells = (self.what, shown, str(self.goal or ""), "**missed**" if verdict == "missed" else verdict)
        return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"

    def record(self, idle: bool = True) -> dict[str, Any]:
        """Return the line as JSON."""
        return {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "goal": str(self.goal or ""),
            "verdict": self.verdict(idle),
            "note": self.note,
        }


def publish(rows: Iterable[Row], *, threads: int, file: Path | None = None) -> None:
    """Print the machine and the table, line by line as it is measured.

    Args:
        rows: Lines, which are measured as they are iterated over.
        threads: Number of threads of the measurements.
        file: File that takes the same as JSON at the end, also after an interruption.
    """
    others, machine = CpuContention(), describe_machine()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    libraries = ", ".join(map(" ".join, machine.libraries.items()))
    print(f"{machine.cpu}, {machine.cores} cores, {threads} threads; {libraries}\n")
    print("| figure | measured | goal | |\n| --- | ---: | ---: | --- |")
    records = []
    try:
        for row in rows:
            idle = not busy_with_others(others.share())
            print(row.line(idle), flush=True)
            records.append(row.record(idle))
    finally:
        share = others.share()
        said = "an unknown share" if share is None else f"{share:.1%}"
        print(f"\nOther work took {said} of the processors' time; {BUSY:.0%} is allowed.")
        if file is not None:
            about = {"created": created, "machine": machine.model_dump(), "threads": threads, "others_share": share}
            write_atomic(file, json.dumps({**about, "rows": records}, indent=1, ensure_ascii=False) + "\n")

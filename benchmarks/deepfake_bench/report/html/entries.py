"""How a page of reports calls its rows: by the detector, and by what tells it from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepfake_bench.records.report import Machine, Measurement, Report
from deepfake_bench.report.figures import conditions_of, short_name


@dataclass(frozen=True, slots=True)
class Entry:
    """A measurement and how the page calls what was measured.

    Attributes:
        label: The detector; its version, backend, device, threads, machine and report where these differ.
        report: Number of its report on the page, from 0.
        row: The measurement.
    """

    label: str
    report: int
    row: Measurement


def labelled(reports: Sequence[Report]) -> tuple[list[Entry], str]:
    """The measurements of all reports, and in words what all have in common, which their labels then leave out."""
    places = [machines(reports).index(report.machine) for report in reports]
    rows = [(number, row) for number, report in enumerate(reports) for row in report.measurements]
    told = [(*conditions_of(row), f"machine {places[number] + 1}") for number, row in rows]
    measured = [said for said, (_, row) in zip(told, rows, strict=True) if row.status == "measured"]
    shared = [len(set(column)) == 1 for column in zip(*measured, strict=True)] or [False] * 4
    versions: dict[str, set[str]] = {}
    for _, row in rows:
        versions.setdefault(short_name(row.detector), set()).update({row.version} - {""})
    entries = []
    for (number, row), said in zip(rows, told, strict=True):
        name = short_name(row.detector)
        version = f"version {row.version}" if row.version and len(versions[name]) > 1 else ""
        own = (text for text, alike in zip(said, shared, strict=True) if not alike)
        entries.append(Entry(_named(name, version, *own), number, row))
    # The machine, the last of them, has a section of its own.
    common = [text for text, alike in zip(measured[0][:-1], shared, strict=False) if alike] if measured else []
    return _apart(entries), ", ".join(filter(None, common))


def machines(reports: Sequence[Report]) -> list[Machine]:
    """The machines of the reports, each once."""
    found: list[Machine] = []
    for report in reports:
        if report.machine not in found:
            found.append(report.machine)
    return found


def _apart(entries: list[Entry]) -> list[Entry]:
    """With the report's number where two reports hold the same measurement."""
    holders: dict[str, set[int]] = {}
    for entry in entries:
        holders.setdefault(entry.label + "\0" + entry.row.scenario, set()).add(entry.report)
    twice = {key.partition("\0")[0] for key, found in holders.items() if len(found) > 1}
    return [
        Entry(f"{entry.label}, report {entry.report + 1}", entry.report, entry.row) if entry.label in twice else entry
        for entry in entries
    ]


def _named(name: str, *told: str) -> str:
    said = ", ".join(filter(None, told))
    return f"{name} ({said})" if said else name

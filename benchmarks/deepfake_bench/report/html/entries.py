"""The measurements of a page with their labels: the detector, and what tells it apart from the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepfake_bench.records.report import Machine, Measurement, Report
from deepfake_bench.report.figures import meaningful
from deepfake_bench.report.html.svg import text_of
from deepfake_bench.report.labels import conditions_of, short_name, with_details
from deepfake_bench.report.order import in_reading_order, is_plumbing
from deepfake_core.runtimes.cpu_contention import BUSY


@dataclass(frozen=True, slots=True)
class Entry:
    """A measurement and its label on the page.

    Attributes:
        label: Detector; with its version, backend, device, threads, machine and report where these differ.
        report: Number of its report on the page, from 0.
        row: Measurement.
    """

    label: str
    report: int
    row: Measurement


def labelled(reports: Sequence[Report]) -> tuple[list[Entry], str]:
    """Return the measurements of all reports in reading order, and in words what all have in common.

    Labels leave out what all have in common.
    """
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
        entries.append(Entry(with_details(name, version, *own), number, row))
    # The machine, the last of them, has a section of its own.
    common = [text for text, alike in zip(measured[0][:-1], shared, strict=False) if alike] if measured else []
    place = {id(row): number for number, row in enumerate(in_reading_order([row for _, row in rows]))}
    return sorted(_apart(entries), key=lambda entry: place[id(entry.row)]), ", ".join(filter(None, common))


def machines(reports: Sequence[Report]) -> list[Machine]:
    """Return the machines of the reports, each once."""
    found: list[Machine] = []
    for report in reports:
        if report.machine not in found:
            found.append(report.machine)
    return found


def by_data(entries: Iterable[Entry], scenario: str) -> dict[str, list[Entry]]:
    """Return the entries of one scenario whose figures mean something, by the sha256 of their data.

    The plumbing check comes after other data.
    """
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.row.scenario == scenario and entry.row.dataset is not None and meaningful(entry.row):
            found.setdefault(entry.row.dataset.sha256, []).append(entry)
    return dict(sorted(found.items(), key=lambda item: is_plumbing(item[1][0].row.dataset)))


def beside(entry: Entry) -> str:
    """Return how much of the processors other work used beside a measurement of time, where that is too much."""
    share = entry.row.others_share
    return f"other work {100 * share:.0f}\N{NO-BREAK SPACE}%" if share is not None and share > BUSY else ""


def name_of(entry: Entry) -> str:
    """Return an entry's label as HTML, with a stamp where the weights are untrained."""
    stamp = ' <span class="stamp">untrained</span>' if entry.row.weights == "untrained" else ""
    return text_of(entry.label) + stamp


def _apart(entries: list[Entry]) -> list[Entry]:
    """Add the report's number to the label where two reports hold the same measurement."""
    holders: dict[str, set[int]] = {}
    for entry in entries:
        holders.setdefault(entry.label + "\0" + entry.row.scenario, set()).add(entry.report)
    twice = {key.partition("\0")[0] for key, found in holders.items() if len(found) > 1}
    return [
        Entry(f"{entry.label}, report {entry.report + 1}", entry.report, entry.row) if entry.label in twice else entry
        for entry in entries
    ]

"""Reports as one HTML page that needs nothing else; all that comes from a report is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from deepfake_bench.records.report import Estimate, Measurement, Report, TargetCheck
from deepfake_bench.records.targets import board, documented
from deepfake_bench.records.times import others_line, unknown_line
from deepfake_bench.report.figures import MEAN, mean_estimate, meaningful
from deepfake_bench.report.html.bars import speed_bars
from deepfake_bench.report.html.diagrams import curve_groups, pareto, robustness
from deepfake_bench.report.html.entries import Entry, by_data, labelled, machines, name_of
from deepfake_bench.report.html.layout import shell, table
from deepfake_bench.report.html.svg import text_of
from deepfake_bench.report.labels import ACCURACY, SIGNS, interval, number, short, short_name, variant_lines
from deepfake_bench.report.leaderboard import Board, cells, header

_ORDER = ("missed", "met", "not judged", "not measurable here")
_ACCURACY = tuple(name for name in ACCURACY if name not in ("tpr_at_1pct_fpr", "brier"))
_OPEN_SOURCES = 3
"""Number of sources whose diagrams are shown at once; the others are folded."""


def html(reports: Sequence[Report]) -> str:
    """Return the page of one report or several."""
    entries, shared = labelled(reports)
    sections = (
        ("Documented targets", _targets),
        ("Speed", _speed),
        ("Accuracy", _accuracy),
        ("Robustness", _robustness),
        ("Under attack", _attack),
        ("Not measured", _not_measured),
        ("All figures", _everything),
    )
    made = [(title, make(entries)) for title, make in sections]
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in made if content)
    times = sorted({report.created[:16].replace("T", " ") for report in reports})
    when = " to ".join(dict.fromkeys((times[0], times[-1])))
    versions = ", ".join(sorted({report.project_version for report in reports}))
    said = f"{len(entries)} measurements, {when} UTC, deepfake-core {versions}"
    intro = f"<p>{text_of(said)}</p>" + (f"<p>Measured on: {text_of(shared)}.</p>" if shared else "")
    return shell("Benchmark report", f"{intro}{body}<h2>Machine</h2>{_machines(reports)}")


def leaderboard_html(found: Iterable[Board]) -> str:
    """Return leaderboards as a page of the same kind."""
    parts = []
    for ranked in found:
        rows = [[text_of(cell) for cell in row] for row in cells(ranked)]
        parts.append(f"<h2>{text_of(ranked.title)}</h2>{table(header(ranked), rows, numbers=(0, 5, 6))}")
    return shell("Leaderboard", "".join(parts))


def _machines(reports: Sequence[Report]) -> str:
    found = machines(reports)
    parts = []
    for place, machine in enumerate(found, start=1):
        title = f"<h3>Machine {place}</h3>" if len(found) > 1 else ""
        memory = f"{machine.memory_mb / 1000:.1f} GB of memory, " if machine.memory_mb else ""
        libraries = ", ".join(f"{name} {version}" for name, version in sorted(machine.libraries.items()))
        said = (
            f"{machine.processor}, {machine.allowance} of {machine.cores} CPUs, {memory}{machine.system}. "
            f"Python {machine.python}; {libraries or 'no library was found'}."
        )
        parts.append(f"{title}<p>{text_of(said)}</p>")
    return "".join(parts)


def _targets(entries: Sequence[Entry]) -> str:
    lines = list(_target_lines(entries))
    if not lines:
        return ""
    verdicts = [check.verdict for _, check in lines]
    counts = "".join(
        f'<li class="{_class(verdict)}"><b>{verdicts.count(verdict)}</b> {verdict}</li>'
        for verdict in ("met", "missed", "not judged", "not measurable here")
        if verdict in verdicts or verdict != "not judged"
    )
    lines.sort(key=lambda line: _ORDER.index(line[1].verdict))
    here = [line for line in lines if line[1].verdict != _ORDER[-1]]
    rest = [line for line in lines if line[1].verdict == _ORDER[-1]]
    columns = ("detector", "target", "measured", "verdict", "documented")
    parts = [table(columns, (_target_cells(*line) for line in here), numbers=(2,))] if here else []
    if rest:
        folded = table(("detector", "target", "why not", "documented"), (_unmeasured_cells(*line) for line in rest))
        opened = "" if here else " open"
        parts.append(f"<details{opened}><summary>{len(rest)} {_ORDER[-1]}</summary>{folded}</details>")
    return f'<ul class="counts">{counts}</ul>{"".join(parts)}'


def _target_lines(entries: Sequence[Entry]) -> Iterator[tuple[Entry, TargetCheck]]:
    """Yield the targets of each report.

    A target that one report could check is not shown as not measurable for another report.
    """
    named = {id(entry.row): entry for entry in entries}
    of_report = groupby(entries, key=lambda entry: entry.report)
    lines = [line for _, found in of_report for line in board([entry.row for entry in found])]
    keys = [(short_name(row.detector), check.metric, check.target, documented(check)) for row, check in lines]
    decided = {key for key, (_, check) in zip(keys, lines, strict=True) if check.is_decided}
    for place, (key, (row, check)) in enumerate(zip(keys, lines, strict=True)):
        if check.is_decided or (key not in decided and key not in keys[:place]):
            yield named[id(row)], check


def _target_cells(entry: Entry, check: TargetCheck) -> tuple[str, ...]:
    verdict = f'<span class="{_class(check.verdict)}">{check.verdict}</span>'
    return (
        name_of(entry),
        _target(check),
        short(check.measured),
        f"{verdict}: {text_of(check.reason)}" if check.reason else verdict,
        text_of(documented(check)),
    )


def _unmeasured_cells(entry: Entry, check: TargetCheck) -> tuple[str, ...]:
    return name_of(entry), _target(check), text_of(check.reason), text_of(documented(check))


def _target(check: TargetCheck) -> str:
    return text_of(f"{check.metric} {SIGNS[check.comparison]}\N{NO-BREAK SPACE}{check.target:.8g}")


def _class(verdict: str) -> str:
    return verdict.partition(" ")[0]


def _speed(entries: Sequence[Entry]) -> str:
    bars = "".join(speed_bars(entries))
    if not bars:
        return ""
    rows = [entry.row for entry in entries]
    busy = f'<p class="missed">{text_of(line)}</p>' if (line := others_line(rows)) else ""
    legend = (
        "Logarithmic scales. A dot is the median; the whisker ends at the 95th percentile; a red line is a documented "
        f"target. {unknown_line(rows)}"
    )
    return f'{busy}<p class="note">{legend}</p>{bars}'


def _accuracy(entries: Sequence[Entry]) -> str:
    return "".join(_on_one_dataset(measured, entries) for measured in by_data(entries, "accuracy").values())


def _on_one_dataset(measured: Sequence[Entry], entries: Sequence[Entry]) -> str:
    data = measured[0].row.dataset
    assert data is not None, "accuracy is measured on a dataset"
    said = f"{data.samples:,} files, sha256 {data.sha256[:16]}{'; ' if data.note else ''}{data.note}"
    parts = [f"<h3>On {text_of(data.name)}</h3>", f'<p class="note">{text_of(said)}</p>']
    rows = [row for entry in measured for row in _accuracy_cells(entry)]
    columns = ("detector", "source", *map(ACCURACY.__getitem__, _ACCURACY), "real/fake", "no face", "errors")
    parts.append(table(columns, rows, numbers=range(2, len(columns))))
    if front := pareto(measured, entries):
        parts.append(f'<div class="figures one">{front}</div>')
    groups = curve_groups(measured)
    for place, (title, figures) in enumerate(groups.items()):
        block = f'<div class="figures">{"".join(figures)}</div>'
        if place < _OPEN_SOURCES:
            parts.append((f"<h4>{text_of(title)}</h4>" if title else "") + block)
        else:
            parts.append(f"<details><summary>{text_of(title)}</summary>{block}</details>")
    if not groups:
        parts.append('<p class="note">The report holds no curves: measure anew to have ROC, DET and reliability.</p>')
    return "".join(parts)


def _accuracy_cells(entry: Entry) -> Iterator[tuple[str, ...]]:
    for source in entry.row.sources:
        rates = (f"{source.no_face_rate:.1%}", f"{source.error_rate:.1%}")
        name = text_of(source.title)
        yield (name_of(entry), name, *_shown(source.metrics), f"{source.real}/{source.fake}", *rates)
    if len(entry.row.sources) > 1:
        means = {name: mean_estimate(entry.row, name) for name in _ACCURACY}
        yield (name_of(entry), f"<b>{MEAN}</b>", *_shown(means), "", "", "")


def _shown(found: Mapping[str, Estimate]) -> list[str]:
    """Return measures as text; only the first has room for its interval, the others' are in the CSV and the JSON."""
    first, *others = (found.get(name, Estimate(value=None)) for name in _ACCURACY)
    return [_interval(first), *(number(item.value) for item in others)]


def _interval(item: Estimate) -> str:
    """Return a measure with its interval, which stays on one line."""
    value, space, ends = interval(item).partition(" ")
    return f'{value}{space}<span class="ends">{ends}</span>' if ends else value


def _robustness(entries: Sequence[Entry]) -> str:
    parts = []
    for measured in by_data(entries, "robustness").values():
        data = measured[0].row.dataset
        assert data is not None, "robustness is measured on a dataset"
        figures = "".join(map(robustness, measured))
        parts.append(f'<h3>On {text_of(data.name)}</h3><div class="figures">{figures}</div>')
    return "".join(parts)


def _attack(entries: Sequence[Entry]) -> str:
    parts = []
    for measured in by_data(entries, "attack").values():
        data = measured[0].row.dataset
        assert data is not None, "an attack is measured on a dataset"
        said = (
            f"AUC of {data.samples:,} faces{'; ' if data.note else ''}{data.note}. Each was changed by up to so many "
            "levels of 255: at random, or by gradient descent on this very network (PGD); a better attack may do more."
        )
        parts.append(f'<h3>On {text_of(data.name)}</h3><p class="note">{text_of(said)}</p>')
        names = list(dict.fromkeys(source.variant for entry in measured for source in entry.row.sources))
        rows = [row for entry in measured for row in _attack_cells(entry, names)]
        columns = ("detector", "source", "real/fake", *(variant_lines(name).replace("\n", " ") for name in names))
        parts.append(table(columns, rows, numbers=range(3, len(columns))))
        parts.append(f'<div class="figures">{"".join(map(robustness, measured))}</div>')
    return "".join(parts)


def _attack_cells(entry: Entry, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    found = {(source.source, source.variant): source.metrics["auc"] for source in entry.row.sources}
    counts = {source.source: f"{source.real}/{source.fake}" for source in entry.row.sources}
    for name, count in counts.items():
        shown = (_interval(found.get((name, variant), Estimate(value=None))) for variant in names)
        yield (name_of(entry), text_of(name), count, *shown)
    if len(counts) > 1:
        means = (_interval(mean_estimate(entry.row, "auc", variant)) for variant in names)
        yield (name_of(entry), f"<b>{MEAN}</b>", "", *means)


def _not_measured(entries: Sequence[Entry]) -> str:
    rows = [
        (name_of(entry), text_of(entry.row.scenario), entry.row.status, text_of(entry.row.reason))
        for entry in entries
        if entry.row.status != "measured"
    ]
    return table(("detector", "scenario", "status", "why"), rows) if rows else ""


def _everything(entries: Sequence[Entry]) -> str:
    return "".join(_details(entry) for entry in entries if meaningful(entry.row))


def _details(entry: Entry) -> str:
    row = entry.row
    where = f" on {row.dataset.name}" if row.dataset else ""
    figures = table(
        ("metric", "value"), ((text_of(name), short(value)) for name, value in row.metrics.items()), numbers=(1,)
    )
    says = "".join(f"<dt>{text_of(name)}</dt><dd>{text_of(text)}</dd>" for name, text in row.conditions.items())
    sha256 = row.artefact_sha256 and f"sha256 {row.artefact_sha256[:16]}"
    others = "" if row.others_share is None else f"other work used {row.others_share:.1%} of the processors"
    identity = ", ".join(filter(None, (_version(row), sha256, others)))
    return (
        f"<details><summary>{name_of(entry)}: {text_of(row.scenario + where)}</summary>"
        f'<p class="note">{text_of(identity)}</p>{figures}<dl>{says}</dl></details>'
    )


def _version(row: Measurement) -> str:
    return f"version {row.version}, {row.weights} weights" if row.version else f"{row.weights} weights"

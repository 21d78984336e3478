"""Reports as one HTML page that needs nothing else: no script, no font, no picture is fetched, and it opens from disk.

All that comes from a report is escaped, and the page's own policy lets a browser load and run nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from deepfake_bench.records.report import Estimate, Measurement, Report, TargetCheck
from deepfake_bench.records.targets import board, documented
from deepfake_bench.report.figures import ACCURACY, MEAN, SIGNS, interval, mean_estimate, meaningful, short, short_name
from deepfake_bench.report.html.entries import Entry, labelled, machines
from deepfake_bench.report.html.plots import (
    by_data,
    curve_groups,
    name_of,
    pareto,
    robustness,
    speed_bars,
    variant_label,
)
from deepfake_bench.report.html.svg import text_of
from deepfake_bench.report.leaderboard import Board, cells, header

_STYLE = (
    """
:root{color-scheme:light dark;--ground:#fff;--text:#1b1f24;--soft:#5b6470;--line:#d9dee4;--raised:#f5f7f9;
--good:#08703f;--bad:#b3261e;--c0:#0072b2;--c1:#d55e00;--c2:#00805d;--c3:#b0508f;--c4:#857600;--c5:#3b9fd6;--c6:#444;
--c7:#6a3d9a}
@media(prefers-color-scheme:dark){:root{--ground:#14171b;--text:#e6e9ed;--soft:#9aa4b0;--line:#343b44;--raised:#1d2228;
--good:#5fd39a;--bad:#ff8a80;--c0:#56b4e9;--c1:#ff8f4d;--c2:#3ecf9f;--c3:#e59ccb;--c4:#e6b53c;--c5:#8ecbf0;--c6:#ddd;
--c7:#bfa2da}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:76rem;padding:1rem 1rem 4rem;background:var(--ground);
color:var(--text);overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.4rem 0 .4rem}h4{font-size:.95rem;margin:1rem 0 .2rem}
p,.note{margin:.3rem 0}.note,small,figcaption{color:var(--soft)}
.counts{display:flex;flex-wrap:wrap;gap:.6rem;margin:.8rem 0;padding:0;list-style:none}
.counts li{background:var(--raised);border-radius:.4rem;padding:.5rem 1rem}.counts b{font-size:1.5rem;display:block}
.met{color:var(--good)}.missed{color:var(--bad);font-weight:600}.not{color:var(--soft)}
.stamp{border:1px solid var(--bad);color:var(--bad);border-radius:.2rem;font-size:.75rem;padding:0 .3rem;
white-space:nowrap}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line)}
.cards td{overflow-wrap:break-word}
.wide td,th{white-space:nowrap;overflow-wrap:normal}.wide table{font-size:.85rem}.wide th,.wide td{padding-right:.6rem}
.wide td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:8rem}
.number{text-align:right;font-variant-numeric:tabular-nums}
.bars{list-style:none;margin:0;padding:0}
.bars li{display:grid;grid-template-columns:minmax(10rem,22rem) minmax(8rem,1fr) minmax(10rem,18rem);gap:.1rem .8rem;
align-items:center;padding:.25rem 0}
.track{position:relative;height:1.1rem;background:var(--raised);border-radius:.15rem}.track i{position:absolute}
.fill{inset:0 auto 0 0;background:var(--c0);border-radius:.15rem}
.whisker{top:50%;height:2px;margin-top:-1px;background:var(--text)}
.whisker::after{content:"";position:absolute;right:0;top:-4px;height:10px;width:2px;background:var(--text)}
.limit{top:-3px;bottom:-3px;width:3px;background:var(--bad)}.value,.who{font-size:.9rem}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:1rem;margin-top:.8rem}
figure{margin:0;min-width:0;max-width:32rem}.one{grid-template-columns:1fr}figcaption{font-size:.9rem}figure>svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font-size:11px}svg .x{text-anchor:middle}svg .y{text-anchor:end}
.grid{stroke:var(--line);stroke-width:1}.line{fill:none;stroke:var(--c);stroke-width:1.8}
.dashed{stroke-dasharray:5 3}.guide{fill:none;stroke:var(--soft);stroke-width:1;stroke-dasharray:4 3}
.mark{fill:var(--c);stroke:none}
.legend{list-style:none;margin:.2rem 0 0;padding:0;font-size:.85rem}.legend li{padding-left:2rem;position:relative}
.legend svg{position:absolute;left:0;top:.35rem;width:1.5rem;height:.75rem}
summary{cursor:pointer;margin:.3rem 0}dl{margin:.3rem 0;font-size:.9rem}dt{font-weight:600}dd{margin:0 0 .3rem 1rem}
@media(max-width:44rem){.bars li{grid-template-columns:1fr}.cards thead{display:none}
.cards tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}
.cards td{display:block;border:0;padding:.05rem 0}.cards td:empty{display:none}
.cards td[data-is]::before{content:attr(data-is) ": ";
color:var(--soft)}.cards .number{text-align:left}}
""".strip()
    + "".join(f".s{place}{{--c:var(--c{place})}}" for place in range(8))
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_ORDER = ("missed", "met", "not measurable here")
_ACCURACY = tuple(name for name in ACCURACY if name not in ("tpr_at_1pct_fpr", "brier"))
_OPEN_SOURCES = 3
"""Diagrams of so many sources are shown at once; the others are folded."""


def html(reports: Sequence[Report]) -> str:
    """The page of one report or several."""
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
    """Leaderboards as a page of the same kind."""
    parts = []
    for ranked in found:
        rows = [[text_of(cell) for cell in row] for row in cells(ranked)]
        parts.append(f"<h2>{text_of(ranked.title)}</h2>{table(header(ranked), rows, cards=True)}")
    return shell("Leaderboard", "".join(parts))


def shell(title: str, body: str) -> str:
    """A whole page around ``body``, which is HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{text_of(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{text_of(title)}</h1>
{body}
</body>
</html>
"""


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = (), cards: bool = False
) -> str:
    """A table of cells that are HTML already.

    Args:
        columns: Their text.
        rows: Of cells.
        numbers: Columns aligned to the right.
        cards: On a narrow screen, each row becomes a block of lines; otherwise the table scrolls sideways.
    """
    right = set(numbers)
    kinds = [' class="number"' if place in right else "" for place in range(len(columns))]
    named = [f' data-is="{text_of(name)}"' if name and place else "" for place, name in enumerate(columns)]
    head = "".join(f"<th{kind}>{text_of(name)}</th>" for kind, name in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}{is_}>{cell}</td>" for kind, is_, cell in zip(kinds, named, row, strict=True))
        + "</tr>"
        for row in rows
    )
    content = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="{"cards" if cards else "wide"}">{content}</div>'


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
        for verdict in ("met", "missed", "not measurable here")
    )
    rows = [_target_cells(*line) for line in sorted(lines, key=lambda line: _ORDER.index(line[1].verdict))]
    columns = ("detector", "target", "measured", "verdict", "documented", "why not")
    return f'<ul class="counts">{counts}</ul>{table(columns, rows, numbers=(2,), cards=True)}'


def _target_lines(entries: Sequence[Entry]) -> Iterator[tuple[Entry, TargetCheck]]:
    """The board of each report; what one of them could judge does not stand there unjudged for another one."""
    named = {id(entry.row): entry for entry in entries}
    of_report = groupby(entries, key=lambda entry: entry.report)
    lines = [line for _, found in of_report for line in board([entry.row for entry in found])]
    keys = [(short_name(row.detector), check.metric, check.target, documented(check)) for row, check in lines]
    judged = {key for key, (_, check) in zip(keys, lines, strict=True) if check.judged}
    for place, (key, (row, check)) in enumerate(zip(keys, lines, strict=True)):
        if check.judged or (key not in judged and key not in keys[:place]):
            yield named[id(row)], check


def _target_cells(entry: Entry, check: TargetCheck) -> tuple[str, ...]:
    return (
        name_of(entry),
        text_of(f"{check.metric} {SIGNS[check.comparison]} {check.target:.8g}"),
        short(check.measured),
        f'<span class="{_class(check.verdict)}">{check.verdict}</span>',
        text_of(documented(check)),
        text_of(check.reason),
    )


def _class(verdict: str) -> str:
    return verdict.partition(" ")[0]


def _speed(entries: Sequence[Entry]) -> str:
    bars = "".join(speed_bars(entries))
    legend = "Bars: the median; the whisker ends at the 95th percentile; a red line is a documented target."
    return f'<p class="note">{legend}</p>{bars}' if bars else ""


def _accuracy(entries: Sequence[Entry]) -> str:
    return "".join(_on_one_dataset(judged, entries) for judged in by_data(entries, "accuracy").values())


def _on_one_dataset(judged: Sequence[Entry], entries: Sequence[Entry]) -> str:
    data = judged[0].row.dataset
    assert data is not None, "accuracy is measured on a dataset"
    said = f"{data.samples:,} files, sha256 {data.sha256[:16]}{'; ' if data.note else ''}{data.note}"
    parts = [f"<h3>On {text_of(data.name)}</h3>", f'<p class="note">{text_of(said)}</p>']
    rows = [row for entry in judged for row in _accuracy_cells(entry)]
    columns = ("detector", "source", *map(ACCURACY.__getitem__, _ACCURACY), "real/fake", "no face", "errors")
    parts.append(table(columns, rows, numbers=range(2, len(columns))))
    if front := pareto(judged, entries):
        parts.append(f'<div class="figures one">{front}</div>')
    groups = curve_groups(judged)
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
        name = text_of(source.source)
        yield (name_of(entry), name, *_shown(source.metrics), f"{source.real}/{source.fake}", *rates)
    if len(entry.row.sources) > 1:
        means = {name: mean_estimate(entry.row, name) for name in _ACCURACY}
        yield (name_of(entry), f"<b>{MEAN}</b>", *_shown(means), "", "", "")


def _shown(found: Mapping[str, Estimate]) -> list[str]:
    """Only the first has room for its interval; the others' are in the CSV and the JSON."""
    numbers = [interval(found[name]) if name in found else "–" for name in _ACCURACY]
    return [numbers[0], *(number.partition(" ")[0] for number in numbers[1:])]


def _robustness(entries: Sequence[Entry]) -> str:
    parts = []
    for judged in by_data(entries, "robustness").values():
        data = judged[0].row.dataset
        assert data is not None, "robustness is measured on a dataset"
        figures = "".join(map(robustness, judged))
        parts.append(f'<h3>On {text_of(data.name)}</h3><div class="figures">{figures}</div>')
    return "".join(parts)


def _attack(entries: Sequence[Entry]) -> str:
    parts = []
    for judged in by_data(entries, "attack").values():
        data = judged[0].row.dataset
        assert data is not None, "an attack is measured on a dataset"
        said = (
            f"AUC of {data.samples:,} faces{'; ' if data.note else ''}{data.note}. Each was changed by up to so many "
            "levels of 255: at random, or by gradient descent on this very network (PGD); a better attack may do more."
        )
        parts.append(f'<h3>On {text_of(data.name)}</h3><p class="note">{text_of(said)}</p>')
        names = list(dict.fromkeys(source.variant for entry in judged for source in entry.row.sources))
        rows = [row for entry in judged for row in _attack_cells(entry, names)]
        columns = ("detector", "source", "real/fake", *(variant_label(name).replace("\n", " ") for name in names))
        parts.append(table(columns, rows, numbers=range(3, len(columns))))
        parts.append(f'<div class="figures">{"".join(map(robustness, judged))}</div>')
    return "".join(parts)


def _attack_cells(entry: Entry, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    found = {(source.source, source.variant): source.metrics["auc"] for source in entry.row.sources}
    counts = {source.source: f"{source.real}/{source.fake}" for source in entry.row.sources}
    for name, count in counts.items():
        shown = (interval(found.get((name, variant), Estimate(value=None))) for variant in names)
        yield (name_of(entry), text_of(name), count, *shown)
    if len(counts) > 1:
        means = (interval(mean_estimate(entry.row, "auc", variant)) for variant in names)
        yield (name_of(entry), f"<b>{MEAN}</b>", "", *means)


def _not_measured(entries: Sequence[Entry]) -> str:
    rows = [
        (name_of(entry), text_of(entry.row.scenario), entry.row.status, text_of(entry.row.reason))
        for entry in entries
        if entry.row.status != "measured"
    ]
    return table(("detector", "scenario", "status", "why"), rows, cards=True) if rows else ""


def _everything(entries: Sequence[Entry]) -> str:
    return "".join(_details(entry) for entry in entries if meaningful(entry.row))


def _details(entry: Entry) -> str:
    row = entry.row
    where = f" on {row.dataset.name}" if row.dataset else ""
    figures = table(
        ("metric", "value"), ((text_of(name), short(value)) for name, value in row.metrics.items()), numbers=(1,)
    )
    says = "".join(f"<dt>{text_of(name)}</dt><dd>{text_of(text)}</dd>" for name, text in row.conditions.items())
    identity = ", ".join(filter(None, (_version(row), row.artefact_sha256 and f"sha256 {row.artefact_sha256[:16]}")))
    return (
        f"<details><summary>{name_of(entry)}: {text_of(row.scenario + where)}</summary>"
        f'<p class="note">{text_of(identity)}</p>{figures}<dl>{says}</dl></details>'
    )


def _version(row: Measurement) -> str:
    return f"version {row.version}, {row.weights} weights" if row.version else f"{row.weights} weights"

"""Many reports as one table: the best row of each detector and backend, ranked among comparable rows alone.

Accuracies are ranked where the data are the same to the byte, speeds where machine, device and threads are the same.
Untrained weights are listed, never ranked; nor are times beside which other work took more than 5 % of the processors,
nor accuracies on groups that the model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape

from deepfake_bench.records.report import SEEN, Estimate, Measurement, Report
from deepfake_bench.records.times import disturbed
from deepfake_bench.report.figures import difference, direction, mean_estimate, meaningful
from deepfake_bench.report.labels import interval, short, short_name
from deepfake_bench.report.markdown import table
from deepfake_bench.report.order import is_plumbing
from deepfake_core.errors import DeepfakeError

COLUMNS = ("rank", "detector", "version", "backend", "device", "threads", "", "against the first", "measured on")


@dataclass(frozen=True, slots=True)
class Place:
    """One row of a board.

    Attributes:
        rank: From 1; ``None`` for untrained weights, times that other work disturbed, and data seen in training.
        row: Measurement.
        figure: Value that it is ranked by.
        against_first: ``"the first"``, ``"not told apart"`` where the interval of the difference holds 0,
            ``"behind"``, why it is not ranked, or empty where nothing can be said.
        created: Time at which its report was made.
    """

    rank: int | None
    row: Measurement
    figure: Estimate
    against_first: str
    created: str


@dataclass(frozen=True, slots=True)
class Board:
    """Rows that may be ranked against each other.

    Attributes:
        title: Data or machine that they have in common.
        metric: Name of the metric that they are ranked by.
        places: Rows of the board; the ranked ones first, best first.
    """

    title: str
    metric: str
    places: tuple[Place, ...]


def boards(reports: Iterable[Report], metric: str = "auc") -> list[Board]:
    """Return one board for each dataset, or for each machine where the metric is not about a dataset.

    Raises:
        DeepfakeError: No report has that metric, or it is not known whether more or less of it is better.
    """
    reports = list(reports)
    if not direction(metric):
        raise DeepfakeError(f"{metric}: neither more nor less of it is known to be better; name another metric")
    groups: dict[tuple[object, ...], dict[str, list[Place]]] = {}
    for report, row in _rows(reports, metric):
        figure = _figure(row, metric)
        if figure.value is not None:
            group, title = _group(report, row)
            place = Place(None, row, figure, "", report.created)
            groups.setdefault(group, {}).setdefault(title, []).append(place)
    if not groups:
        known = {name for report in reports for row in report.measurements for name in row.metrics if direction(name)}
        raise DeepfakeError(f"no report measured {metric}; they have: {', '.join(sorted(known)) or 'nothing'}")
    # The same data may have had several names: the first one stands above the board.
    found = [
        Board(next(iter(named)), metric, tuple(_ranked([item for found in named.values() for item in found], metric)))
        for named in groups.values()
    ]
    return sorted(found, key=lambda board: is_plumbing(board.places[0].row.dataset))


def _rows(reports: list[Report], metric: str) -> Iterator[tuple[Report, Measurement]]:
    for report in reports:
        for row in report.measurements:
            if row.status == "measured" and metric in row.metrics and meaningful(row):
                yield report, row


def _figure(row: Measurement, metric: str) -> Estimate:
    """Return the figure of a whole measurement, with an interval where it is a mean over sources."""
    mean = mean_estimate(row, metric)
    return mean if mean.value is not None else Estimate(value=row.metrics[metric])


def _group(report: Report, row: Measurement) -> tuple[tuple[object, ...], str]:
    if row.dataset is not None:
        title = f"{row.scenario} on {row.dataset.name}, {row.dataset.samples:,} files, sha256 {row.dataset.sha256[:12]}"
        return (row.scenario, row.dataset.sha256), title
    machine = report.machine
    threads = f", {row.threads} threads" if row.threads else ""
    title = f"{row.scenario} on {machine.processor}, {row.device}{threads}"
    return (row.scenario, machine.processor, machine.cores, machine.allowance, row.device, row.threads), title


def _ranked(found: list[Place], metric: str) -> Iterator[Place]:
    best: dict[tuple[str, str, bool], Place] = {}
    better = direction(metric)

    def worth(place: Place) -> tuple[bool, float]:
        return not _unranked(place.row, metric), better * (place.figure.value or 0.0)

    for place in found:
        key = short_name(place.row.detector).partition("@")[0], place.row.backend, place.row.weights == "untrained"
        if key not in best or worth(place) > worth(best[key]):
            best[key] = place
    ordered = sorted(best.values(), key=worth, reverse=True)
    untrained = [place for place in ordered if place.row.weights == "untrained"]
    reasons = {id(place): _unranked(place.row, metric) for place in ordered if place not in untrained}
    doubtful = [place for place in ordered if reasons.get(id(place))]
    ranked = [place for place in ordered if place not in untrained and place not in doubtful]
    for place in ranked:
        above = sum(worth(other) > worth(place) for other in ranked)
        against = "the first" if place is ranked[0] else _against(ranked[0].figure, place.figure)
        yield Place(above + 1, place.row, place.figure, against, place.created)
    for place in doubtful:
        yield Place(None, place.row, place.figure, f"not ranked: {reasons[id(place)]}", place.created)
    yield from untrained


def _unranked(row: Measurement, metric: str) -> str:
    """Return why a row of trained weights is not ranked; empty where it is."""
    return SEEN if any(source.seen_groups for source in row.sources) else disturbed(row, metric)


def _against(first: Estimate, other: Estimate) -> str:
    gap = difference(first, other)
    if gap.low is None or gap.high is None:
        return ""
    return "not told apart" if gap.low <= 0 <= gap.high else "behind"


def cells(board: Board) -> list[tuple[str, ...]]:
    """Return the rows of a board as text, in the order of :data:`COLUMNS`."""
    accuracy = any(place.row.dataset for place in board.places)
    return [
        (
            "" if place.rank is None else str(place.rank),
            short_name(place.row.detector) + (" (untrained)" if place.row.weights == "untrained" else ""),
            place.row.version,
            place.row.backend,
            place.row.device,
            str(place.row.threads or ""),
            interval(place.figure) if accuracy else short(place.figure.value),
            place.against_first,
            place.created[:10],
        )
        for place in board.places
    ]


def header(board: Board) -> tuple[str, ...]:
    """Return the names of the columns, with that of the metric."""
    return tuple(name or board.metric for name in COLUMNS)


def markdown(found: Iterable[Board]) -> str:
    """Return boards as Markdown."""
    return "\n\n".join(f"**{escape(board.title)}**\n\n{table(header(board), _escaped(board))}" for board in found)


def _escaped(board: Board) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in cells(board)]

"""What follows from a report, in a few lines: the fastest detector, the most accurate one, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from deepfake_bench.records.report import SEEN, Measurement, Report, TargetCheck
from deepfake_bench.records.targets import clauses
from deepfake_bench.records.times import disturbed
from deepfake_bench.report.figures import averaged, mean_estimate
from deepfake_bench.report.labels import interval, number, short, short_name, with_details
from deepfake_bench.report.leaderboard import Board, Place, boards
from deepfake_bench.report.order import in_reading_order, is_plumbing

_NEEDED = {"GPU:": "a GPU", "dataset:": "a dataset"}


def target_counts(checks: Iterable[TargetCheck]) -> str:
    """Return the number of targets by verdict, such as ``12 met, 3 missed, 22 need a GPU or a dataset``."""
    found = list(checks)
    counts = Counter(check.verdict for check in found)
    open_ones = [check for check in found if check.verdict == "not measurable here"]
    needs = [what for start, what in _NEEDED.items() if any(_has(check, start) for check in open_ones)]
    if not needs or not all(any(_has(check, start) for start in _NEEDED) for check in open_ones):
        needs.append("other conditions")
    said = [f"{counts[verdict]} {verdict}" for verdict in ("met", "missed", "not judged") if counts[verdict]]
    if open_ones:
        listed = " or ".join(filter(None, (", ".join(needs[:-1]), needs[-1])))
        said.append(f"{len(open_ones)} need{'s' if len(open_ones) == 1 else ''} {listed}")
    return ", ".join(said)


def conclusions(report: Report) -> list[tuple[str, str]]:
    """Return what follows from a report, as three headings and a sentence for each."""
    rows = in_reading_order(report.measurements)
    own = [row for row in rows if row.scenario == "accuracy" and not is_plumbing(row.dataset) and row.sources]
    ranked = _boards(report, own, "auc")
    failed = sum(row.status == "failed" for row in rows)
    best = [board.places[0].row for board in ranked if board.places[0].rank]
    return [
        ("fastest", _fastest(_boards(report, rows, "latency_ms_p50"))),
        ("most accurate", _most_accurate(ranked, own)),
        ("next", _next(rows, best, failed)),
    ]


def _boards(report: Report, rows: Sequence[Measurement], metric: str) -> list[Board]:
    """Return the rankings of some rows; none where no row has the metric."""
    known = [row for row in rows if row.status == "measured" and metric in row.metrics]
    found = boards([report.model_copy(update={"measurements": known})], metric) if known else []
    return [board for board in found if board.places]


def _fastest(found: Sequence[Board]) -> str:
    if not found:
        return "no latency was measured: dfbench run --scenario single_stream"
    first = found[0].places[0]
    row = first.row
    whole = row.metrics.get("predict_ms_p50")
    said = f"{_name(first)}: {short(first.figure.value)} ms for one input of the network"
    said += f", {short(whole)} ms from a 1080p JPEG to the verdict" if whole is not None else ""
    doubt = disturbed(row, "latency_ms_p50")
    return said + (f" ({doubt})" if doubt else "")


def _most_accurate(found: Sequence[Board], own: Sequence[Measurement]) -> str:
    said = [_best_of(board) for board in found]
    ranked = {place.row.dataset.name for board in found for place in board.places if place.row.dataset}
    said += [
        f"on {name} there is no AUC, which takes both classes"
        for name in dict.fromkeys(row.dataset.name for row in own if row.dataset and row.dataset.name not in ranked)
    ]
    return "; ".join(said) or (
        "no accuracy was measured; do it on your pictures: dfbench run --dataset FOLDER (with real/ and fake/ in it)"
    )


def _best_of(board: Board) -> str:
    first, *others = board.places
    row = first.row
    count = len(averaged(row, "auc"))
    sources = f", mean of {count} sources" if count > 1 else ""
    sources += f", {SEEN}" if any(source.seen_groups for source in row.sources) else ""
    found, passed = (number(mean_estimate(row, name).value, ".0%") for name in ("fakes_found", "reals_passed"))
    said = f"{_name(first)} on {row.dataset.name if row.dataset else ''}: AUC {interval(first.figure)}{sources}, "
    said += f"fakes found {found}, reals passed {passed}"
    alike = [_name(place) for place in others if place.against_first == "not told apart"]
    return said + (f" (not told apart: {', '.join(alike)})" if alike else "")


def _next(rows: Sequence[Measurement], best: Sequence[Measurement], failed: int) -> str:
    if failed:
        return f"see above why {failed} measurement{'s' if failed > 1 else ''} failed"
    if best:
        return f"dfbench predict --detector {best[0].detector} PICTURE; all figures as a page: --html FILE"
    if all(row.weights == "untrained" for row in rows if row.status == "measured"):
        name = rows[0].detector if rows else "lite"
        return f"give it weights: dfbench train {name} --data FOLDER"
    return "judge a picture: dfbench predict PICTURE; all figures as a page: --html FILE"


def _name(place: Place) -> str:
    row = place.row
    return with_details(short_name(row.detector), "untrained" if row.weights == "untrained" else "", row.backend)


def _has(check: TargetCheck, start: str) -> bool:
    return any(clause.startswith(start) for clause in clauses(check.condition))

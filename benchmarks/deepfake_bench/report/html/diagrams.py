"""Diagrams of a report's page: accuracy beside latency, ROC, DET, reliability and robustness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from deepfake_bench.records.report import Curves, Estimate, SourceAccuracy
from deepfake_bench.report.figures import half_widths, mean_estimate
from deepfake_bench.report.html.entries import Entry
from deepfake_bench.report.html.svg import Axis, Series, diagram, has_room, linear, logarithmic, named, normal_deviates
from deepfake_bench.report.labels import UNCHANGED, family_label, short, variant_lines


def pareto(measured: Sequence[Entry], entries: Sequence[Entry]) -> str:
    """Return the diagram of AUC and latency on one dataset; a line joins the detectors that none beats in both.

    Args:
        measured: Accuracy of each detector on the dataset.
        entries: All measurements, among them the latencies.
    """
    points: list[tuple[Entry, float, Estimate]] = []
    for entry in measured:
        latency = next((_latency(other) for other in entries if _alike(entry, other)), None)
        auc = mean_estimate(entry.row, "auc")
        if latency and auc.value is not None:
            points.append((entry, latency, auc))
    if not points:
        return ""
    ends = [(latency, _ends(auc)) for _, latency, auc in points]
    x = logarithmic("latency of the network, ms", min(item[0] for item in ends), max(item[0] for item in ends))
    y = _upper_axis("AUC, mean over sources", [low for _, (low, _) in ends])
    front: list[tuple[float, float]] = []
    for _, latency, auc in sorted(points, key=lambda item: (item[1], -(item[2].value or 0.0))):
        if not front or (auc.value or 0.0) > front[-1][1]:
            front += [(latency, front[-1][1])] if front else []
            front.append((latency, auc.value or 0.0))
    series = [Series("front", (*front, (x.high, front[-1][1])), guide=True)]
    for place, ((entry, latency, auc), (_, held)) in enumerate(zip(points, ends, strict=True)):
        label = f"{entry.label}: {short(latency)} ms, AUC {auc.value:.3f}"
        series.append(Series(label, ((latency, auc.value or 0.0),), (held,), line=False, marks=True, colour=place))
    return diagram("Accuracy and latency: up and to the left is better", x, y, series)


def _alike(entry: Entry, other: Entry) -> bool:
    mine, its = entry.row, other.row
    return (
        entry.report == other.report
        and its.scenario == "single_stream"
        and its.status == "measured"
        and (mine.detector, mine.backend, mine.device, mine.threads)
        == (its.detector, its.backend, its.device, its.threads)
    )


def _latency(entry: Entry) -> float | None:
    return entry.row.metrics.get("latency_ms_p50")


def _ends(item: Estimate) -> tuple[float, float]:
    below, above = half_widths(item) or (0.0, 0.0)
    return (item.value or 0.0) - below, (item.value or 0.0) + above


def _upper_axis(label: str, lows: Iterable[float]) -> Axis:
    """Return an axis from a round value below all of ``lows`` to 1."""
    least = min(0.9, *lows, 0.9)
    return linear(label, max(0.0, math.floor((least - 0.02) * 10) / 10), 1.0)


def curve_groups(measured: Sequence[Entry]) -> dict[str, list[str]]:
    """Return ROC, DET and reliability diagrams by heading.

    Of one detector, all sources are in one diagram; of several detectors, each source has diagrams of its own.
    """
    groups: dict[str, list[tuple[str, SourceAccuracy, Curves]]] = {}
    for entry in measured:
        for source in entry.row.sources:
            if source.curves is not None:
                title, label = ("", source.source) if len(measured) == 1 else (source.source, entry.label)
                groups.setdefault(title, []).append((label, source, source.curves))
    return {title: list(_curves(lines)) for title, lines in groups.items()}


def _curves(lines: list[tuple[str, SourceAccuracy, Curves]]) -> Iterator[str]:
    chance = Series("chance", ((0.0, 0.0), (1.0, 1.0)), guide=True)
    roc, det, bins = [chance], [], [Series("perfect", ((0.0, 0.0), (1.0, 1.0)), guide=True)]
    for place, (label, source, curves) in enumerate(lines):
        points = tuple(zip(curves.fpr, curves.tpr, strict=True))
        roc.append(Series(f"{label}, AUC {_said(source, 'auc')}", points, colour=place))
        misses = tuple((left, 1 - up) for left, up in points)
        det.append(Series(f"{label}, EER {_said(source, 'eer')}", misses, colour=place))
        held = tuple(zip(curves.bin_p_fake, curves.bin_share, strict=True))
        bins.append(Series(f"{label}, ECE {_said(source, 'ece')}", held, marks=True, colour=place))
    false, found = "reals called fake", "fakes found"
    yield diagram("ROC", linear(false, 0.0, 1.0), linear(found, 0.0, 1.0), roc)
    yield diagram("DET", normal_deviates(f"{false}, %"), normal_deviates("fakes missed, %"), det)
    yield diagram("Reliability", linear("P(fake), mean of the bin", 0.0, 1.0), linear("share of fakes", 0.0, 1.0), bins)


def _said(source: SourceAccuracy, metric: str) -> str:
    item = source.metrics.get(metric)
    return "–" if item is None or item.value is None else f"{item.value:.3f}"


def robustness(entry: Entry) -> str:
    """Return the AUC of each source over the variants of its images, with intervals; empty without any.

    Where a diagram has no room for all variants, each family of them gets a diagram of its own.
    """
    names = list(dict.fromkeys(source.variant for source in entry.row.sources if source.variant))
    if has_room([variant_lines(name) for name in names]):
        return _over_variants(entry, entry.label, names)
    families: dict[str, list[str]] = {}
    unchanged = [name for name in names if name in UNCHANGED]
    for name in names:
        if name not in UNCHANGED:
            families.setdefault(_family(name), []).append(name)
    return "".join(
        _over_variants(entry, f"{entry.label}: {family}", [*unchanged, *sorted(members, key=_strength)])
        for family, members in families.items()
    )


def _family(name: str) -> str:
    """Return the family of a variant: those of one family share a diagram."""
    first, _, rest = name.partition("_")
    if first == "resize" and "_" in rest:
        return f"resized by {rest.partition('_')[2]}"
    return family_label(first, "on its way") if rest and first != "resize" else "on its way"


def _strength(name: str) -> tuple[int, float]:
    """Return the place among the variants of a family, the mildest first.

    A quality or a side falls with strength, all else grows.
    """
    first, _, rest = name.partition("_")
    try:
        number = float(rest.partition("_")[0])
    except ValueError:
        return 1, 0.0
    return 0, -number if first in ("jpeg", "webp", "avif", "resize") else number


def _over_variants(entry: Entry, title: str, names: Sequence[str]) -> str:
    series: list[Series] = []
    lows = [1.0]
    for source in dict.fromkeys(source.source for source in entry.row.sources):
        aucs = {item.variant: item.metrics["auc"] for item in entry.row.sources if item.source == source}
        known = [(place, aucs[name]) for place, name in enumerate(names) if name in aucs]
        known = [(place, auc) for place, auc in known if auc.value is not None]
        if known:
            points = tuple((float(place), auc.value or 0.0) for place, auc in known)
            held = tuple(_ends(auc) for _, auc in known)
            lows += [low for low, _ in held]
            series.append(Series(source, points, held, marks=True, colour=len(series)))
    if not series:
        return ""
    x = named("what was done to the pictures", [variant_lines(name) for name in names])
    return diagram(title, x, _upper_axis("AUC", lows), series)

"""Diagrams of a report's page: speed as bars, accuracy beside latency, ROC, DET, reliability and robustness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deepfake_bench.records.report import Curves, Estimate, SourceAccuracy
from deepfake_bench.report.figures import SIGNS, mean_estimate, meaningful, reach, short
from deepfake_bench.report.html.entries import Entry
from deepfake_bench.report.html.svg import Axis, Series, diagram, linear, logarithmic, named, normal_deviates, text_of
from deepfake_bench.scenarios.variants import ORIGINAL

SPEED = {
    "latency_ms": ("single_stream", "Network alone, batch 1", "ms"),
    "predict_ms": ("single_stream", "From a file to the verdict", "ms"),
    "total_ms": ("cold_start", "From a fresh process to the first verdict", "ms"),
    "images_per_s": ("offline", "Best throughput of the network", "pictures a second"),
    "response_ms_load_80": ("server", "Response at 80 % of the capacity", "ms"),
    "requests_per_s_within_p99": ("server", "Most requests with the p99 within the bound", "requests a second"),
}
MOST_VARIANTS = 10
"""Columns of a diagram; where there are more variants, each family of them gets a diagram of its own."""
_VARIANTS = {ORIGINAL: "as\nis", "clean": "as\nis", "resize_half": "half\nsize", "recoded": "re-\ncoded"}
_FAMILIES = {
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
    "blur": "blur σ",
    "noise": "noise σ",
    "random": "random ±",
    "pgd": "PGD ±",
}


@dataclass(frozen=True, slots=True)
class _Bar:
    entry: Entry
    value: float
    upper: float | None
    limits: tuple[tuple[float, str], ...]


# ── speed ────────────────────────────────────────────────────────────────────────────────────────────────────


def speed_bars(entries: Sequence[Entry]) -> Iterator[str]:
    """A block of bars for each latency and for the throughput, where there are any."""
    for stem, (scenario, title, unit) in SPEED.items():
        metric = stem if "_per_s" in stem else f"{stem}_p50"
        bars = [
            _bar(entry, metric, value, stem)
            for entry in entries
            if entry.row.scenario == scenario
            and entry.row.status == "measured"
            and (value := entry.row.metrics.get(metric)) is not None
        ]
        if bars:
            yield _bars(title, unit, bars)


def _bar(entry: Entry, metric: str, value: float, stem: str) -> _Bar:
    limits = tuple(
        (check.target, f"target {SIGNS[check.comparison]} {check.target:g}: {check.verdict}")
        for check in entry.row.targets
        if check.metric == metric
    )
    return _Bar(entry, value, entry.row.metrics.get(f"{stem}_p95"), limits)


def _bars(title: str, unit: str, bars: Iterable[_Bar]) -> str:
    bars = list(bars)
    longest = max(max(bar.value, bar.upper or 0.0) for bar in bars) or 1.0
    # A target far beyond every bar would leave them no room: it is then in the text alone.
    near = [limit for bar in bars for limit, _ in bar.limits if limit <= 1.6 * longest]
    scale = 100 / (max([longest, *near]) * 1.02)
    rows = []
    for bar in bars:
        whisker = ""
        if bar.upper is not None:
            start, end = sorted((bar.value * scale, bar.upper * scale))
            whisker = f'<i class="whisker" style="left:{start:.2f}%;width:{end - start:.2f}%"></i>'
        marks = "".join(
            f'<i class="limit" style="left:{limit * scale:.2f}%"></i>' for limit, _ in bar.limits if limit in near
        )
        said = [f"<b>{short(bar.value)}</b> {unit}"]
        said += [f"p95 {short(bar.upper)}"] if bar.upper is not None else []
        said += [text_of(text) for text in dict.fromkeys(text for _, text in bar.limits)]
        rows.append(
            f'<li><span class="who">{name_of(bar.entry)}</span><span class="track">'
            f'<i class="fill" style="width:{bar.value * scale:.2f}%"></i>{whisker}{marks}</span>'
            f'<span class="value">{" · ".join(said)}</span></li>'
        )
    return f'<h3>{text_of(title)}</h3><ul class="bars">{"".join(rows)}</ul>'


def name_of(entry: Entry) -> str:
    """An entry's label as HTML, stamped where the weights are untrained."""
    stamp = ' <span class="stamp">untrained</span>' if entry.row.weights == "untrained" else ""
    return text_of(entry.label) + stamp


# ── accuracy ─────────────────────────────────────────────────────────────────────────────────────────────────


def by_data(entries: Iterable[Entry], scenario: str) -> dict[str, list[Entry]]:
    """Entries of one scenario whose figures mean something, by the sha256 of their data."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.row.scenario == scenario and entry.row.dataset is not None and meaningful(entry.row):
            found.setdefault(entry.row.dataset.sha256, []).append(entry)
    return found


def pareto(judged: Sequence[Entry], entries: Sequence[Entry]) -> str:
    """AUC beside latency on one dataset; the line joins detectors that none beats in both."""
    points: list[tuple[Entry, float, Estimate]] = []
    for entry in judged:
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
    below, above = reach(item) or (0.0, 0.0)
    return (item.value or 0.0) - below, (item.value or 0.0) + above


def _upper_axis(label: str, lows: Iterable[float]) -> Axis:
    """From a round value below all of ``lows`` to 1."""
    least = min(0.9, *lows, 0.9)
    return linear(label, max(0.0, math.floor((least - 0.02) * 10) / 10), 1.0)


def curve_groups(judged: Sequence[Entry]) -> dict[str, list[str]]:
    """ROC, DET and reliability diagrams by heading: of one detector, its sources; of several, those of each source."""
    groups: dict[str, list[tuple[str, SourceAccuracy, Curves]]] = {}
    for entry in judged:
        for source in entry.row.sources:
            if source.curves is not None:
                title, label = ("", source.source) if len(judged) == 1 else (source.source, entry.label)
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
    """AUC of each source over the variants of its pictures, with intervals; empty without any."""
    names = list(dict.fromkeys(source.variant for source in entry.row.sources if source.variant))
    if len(names) <= MOST_VARIANTS:
        return _over_variants(entry, entry.label, names)
    families: dict[str, list[str]] = {}
    for name in names:
        if name != ORIGINAL:
            families.setdefault(_family(name), []).append(name)
    return "".join(
        _over_variants(entry, f"{entry.label}: {family}", [ORIGINAL, *sorted(members, key=_strength)])
        for family, members in families.items()
    )


def _family(name: str) -> str:
    """What variants of one diagram have in common."""
    first, _, rest = name.partition("_")
    if first == "resize" and "_" in rest:
        return f"resized by {rest.partition('_')[2]}"
    return _FAMILIES.get(first, "on its way") if rest and first != "resize" else "on its way"


def _strength(name: str) -> tuple[int, float]:
    """Place among the variants of a family, the mildest first: a quality or a side falls, a width of noise grows."""
    first, _, rest = name.partition("_")
    try:
        number = float(rest.partition("_")[0])
    except ValueError:
        return 1, 0.0
    return 0, number if first in ("blur", "noise") else -number


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
    x = named("what was done to the pictures", [variant_label(name) for name in names])
    return diagram(title, x, _upper_axis("AUC", lows), series)


def variant_label(name: str) -> str:
    """What was done to the pictures, in two lines."""
    first, _, rest = name.partition("_")
    if name in _VARIANTS or not rest:
        return _VARIANTS.get(name, name)
    return f"{_FAMILIES.get(first, first)}\n{rest.partition('_')[0]}"

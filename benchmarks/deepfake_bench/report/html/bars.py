"""Speed on logarithmic scales: the median, a whisker to the 95th percentile, and documented targets as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepfake_bench.report.html.entries import Entry, beside, name_of
from deepfake_bench.report.html.svg import Axis, logarithmic, text_of
from deepfake_bench.report.labels import SIGNS, short

SPEED = {
    "latency_ms": ("single_stream", "Network alone, batch 1", "ms"),
    "predict_ms": ("single_stream", "From a file to the verdict", "ms"),
    "total_ms": ("cold_start", "From a fresh process to the first verdict", "ms"),
    "images_per_s": ("offline", "Best throughput of the network", "pictures a second"),
    "images_per_s_on_device": ("train_throughput", "Training on samples that lie ready", "pictures a second"),
    "images_per_s_pairs": ("train_throughput", "Training on pairs that the device makes", "pictures a second"),
    "images_per_s_store": ("train_throughput", "Training on pictures of a store", "pictures a second"),
    "response_ms_load_80": ("server", "Response at 80 % of the capacity", "ms"),
    "requests_per_s_within_p99": ("server", "Most requests with the p99 within the bound", "requests a second"),
}


@dataclass(frozen=True, slots=True)
class _Bar:
    entry: Entry
    value: float
    upper: float | None
    limits: tuple[tuple[float, str], ...]


def speed_bars(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield a block of lines for each latency and for the throughput, where there are any."""
    for stem, (scenario, title, unit) in SPEED.items():
        metric = stem if "_per_s" in stem else f"{stem}_p50"
        bars = [
            _bar(entry, metric, value, stem)
            for entry in entries
            if entry.row.scenario == scenario
            and entry.row.status == "measured"
            and (value := entry.row.metrics.get(metric))
            and value > 0
        ]
        if bars:
            yield _bars(title, unit, bars)


def _bar(entry: Entry, metric: str, value: float, stem: str) -> _Bar:
    limits = tuple(
        (check.target, f"target {SIGNS[check.comparison]} {check.target:g}: {check.verdict}")
        for check in entry.row.targets
        if check.metric == metric and check.verdict != "not measurable here"
    )
    return _Bar(entry, value, entry.row.metrics.get(f"{stem}_p95"), limits)


def _bars(title: str, unit: str, bars: Sequence[_Bar]) -> str:
    shown = [bar.value for bar in bars] + [bar.upper for bar in bars if bar.upper]
    shown += [limit for bar in bars for limit, _ in bar.limits if limit > 0]
    axis = logarithmic(unit, min(shown), max(shown))
    grid = "".join(f'<i class="tick" style="left:{_at(axis, value)}"></i>' for value, _ in axis.ticks)
    marks = "".join(f'<b style="left:{_at(axis, value)}">{text}</b>' for value, text in axis.ticks)
    scale = f'<li class="scale" aria-hidden="true"><span></span><span>{marks}</span></li>'
    rows = "".join(_line(bar, unit, axis, grid) for bar in bars)
    return f'<h3>{text_of(title)}</h3><ul class="bars">{scale}{rows}</ul>'


def _line(bar: _Bar, unit: str, axis: Axis, grid: str) -> str:
    whisker = ""
    if bar.upper:
        start, end = sorted((axis.share(bar.value), axis.share(bar.upper)))
        whisker = f'<i class="whisker" style="left:{start:.2%};width:{end - start:.2%}"></i>'
    limits = "".join(
        f'<i class="limit" style="left:{_at(axis, limit)}"></i>' for limit in {limit for limit, _ in bar.limits}
    )
    said = [f"<b>{short(bar.value)}</b> {unit}"]
    said += [f"p95 {short(bar.upper)}"] if bar.upper is not None else []
    said += [text_of(text) for text in dict.fromkeys(text for _, text in bar.limits)]
    said += [f'<span class="missed">{other}</span>'] if (other := beside(bar.entry)) else []
    return (
        f'<li><span class="who">{name_of(bar.entry)}</span><span class="track">{grid}{whisker}'
        f'<i class="dot" style="left:{_at(axis, bar.value)}"></i>{limits}</span>'
        f'<span class="value">{" · ".join(said)}</span></li>'
    )


def _at(axis: Axis, value: float) -> str:
    return f"{axis.share(value):.2%}"

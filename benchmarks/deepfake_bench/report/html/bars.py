"""Speed as bars: the median, a whisker to the 95th percentile, and documented targets as lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deepfake_bench.report.html.entries import Entry, name_of
from deepfake_bench.report.html.svg import text_of
from deepfake_bench.report.labels import SIGNS, short

SPEED = {
    "latency_ms": ("single_stream", "Network alone, batch 1", "ms"),
    "predict_ms": ("single_stream", "From a file to the verdict", "ms"),
    "total_ms": ("cold_start", "From a fresh process to the first verdict", "ms"),
    "images_per_s": ("offline", "Best throughput of the network", "pictures a second"),
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
    """Yield a block of bars for each latency and for the throughput, where there are any."""
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

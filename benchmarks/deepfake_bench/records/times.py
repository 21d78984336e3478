"""Figures of time, and whether other work on the machine disturbed them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deepfake_bench.records.report import Measurement
from deepfake_core.runtimes.cpu_contention import busy_among, busy_with_others

_OF_TIMES = ("mfu", "tflops")
"""Metrics that are computed from times and whose names do not say so."""


def is_about_time(metric: str) -> bool:
    """Return whether other work on the machine changes a metric."""
    parts = ("_ms", "_per_s", "_over_")  # the last is a ratio of two rates
    return (
        any(part in metric for part in parts)
        or metric in _OF_TIMES
        or metric.startswith(("cost_", "joules_", "share_"))
    )


def disturbed(row: Measurement, metric: str) -> str:
    """Return why a figure cannot be judged: other work disturbed it; empty where none did."""
    return busy_with_others(row.others_share) if is_about_time(metric) else ""


def busy_rounds(rows: Sequence[Measurement]) -> str:
    """Return why times of several rounds cannot be judged: at least half of the rounds were disturbed."""
    known = sorted(row.others_share for row in rows if row.others_share is not None)
    return busy_with_others(known[len(known) // 2]) if known else ""


def others_line(rows: Iterable[Measurement]) -> str:
    """Return in one sentence that other work disturbed measurements of time; empty where it did not."""
    timed = _timed(rows)
    count, share = busy_among(row.others_share for row in timed)
    if not count:
        return ""
    return (
        f"Other work used {share} of the processors during {count} of {len(timed)} measurements of time, "
        "whose targets are not judged: repeat on an idle machine."
    )


def unknown_line(rows: Iterable[Measurement]) -> str:
    """Return in one sentence that it is not known what other work did beside measurements of time; empty if it is."""
    timed = _timed(rows)
    if not timed or any(row.others_share is not None for row in timed):
        return ""
    return "Other work on the processors was not measured: this system does not tell it, or the report is an older one."


def _timed(rows: Iterable[Measurement]) -> list[Measurement]:
    return [row for row in rows if row.status == "measured" and any(map(is_about_time, row.metrics))]

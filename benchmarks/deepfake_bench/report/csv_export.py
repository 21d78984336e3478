"""Reports as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from deepfake_bench.records.report import Estimate, Measurement, Report
from deepfake_bench.report.figures import meaningful

CSV_COLUMNS = (
    "detector", "version", "weights", "backend", "device", "threads", "scenario", "dataset", "source", "variant",
    "metric", "value", "low", "high", "others_share",
)  # fmt: skip


def csv_text(reports: Iterable[Report]) -> str:
    """Return reports as CSV, with one row for each metric: those of a whole measurement, then those of its sources."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for report in reports:
        for row in report.measurements:
            dataset = row.dataset.name if row.dataset else ""
            who = (row.detector, row.version, row.weights, row.backend, row.device, row.threads, row.scenario, dataset)
            for source, variant, metric, item in _figures(row):
                numbers = ("" if number is None else repr(number) for number in (item.value, item.low, item.high))
                share = "" if row.others_share is None or source else f"{row.others_share:.4f}"
                writer.writerow((*who, source, variant, metric, *numbers, share))
    return stream.getvalue()


def _figures(row: Measurement) -> Iterator[tuple[str, str, str, Estimate]]:
    """Yield source, variant, metric and value of every meaningful figure; the source is empty for the whole."""
    if not meaningful(row):
        return
    for metric, value in row.metrics.items():
        yield "", "", metric, Estimate(value=value)
    for source in row.sources:
        for metric, item in source.metrics.items():
            yield source.source, source.variant, metric, item

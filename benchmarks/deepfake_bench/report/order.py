"""The order in which reports show measurements: what a reader weighs comes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.report import DatasetInfo, Measurement


def in_reading_order(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return measurements with detectors without trained weights last, and the plumbing check after other datasets.

    Otherwise they stay in their order.
    """
    untrained = untrained_detectors(rows)
    return sorted(rows, key=lambda row: (row.detector in untrained, is_plumbing(row.dataset)))


def untrained_detectors(rows: Iterable[Measurement]) -> set[str]:
    """Return the names of the detectors all of whose known weights are untrained."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.weights:
            found.setdefault(row.detector, set()).add(row.weights)
    return {name for name, weights in found.items() if weights == {"untrained"}}


def is_plumbing(dataset: DatasetInfo | None) -> bool:
    """Return whether a dataset is the embedded one, which shows that the pipeline runs and says nothing more."""
    return dataset is not None and dataset.name == PLUMBING.name

"""Statistics of a dataset's files by source and class, and whether they alone predict the class."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.check import LABELS
from deepfake_core.data.inspect import Facts, Want, inspect_all
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.metrics import roc_auc

if TYPE_CHECKING:
    from deepfake_core.data.fact_cache import FactCache
    from deepfake_core.datasets import Dataset

KINDS = {"format": "file format", "mode": "colour mode"}
"""Properties of a file that are words, with their names for people."""

MEASURES = {
    "megapixels": "picture size (megapixels)",
    "bytes_per_pixel": "compression (bytes per pixel)",
    "brightness": "brightness",
    "face_px": "face size (pixels)",
}
"""Properties of a file that are numbers, with their names for people."""

PREDICTABLE = 0.75
"""Balanced accuracy or ROC AUC from which on a property is reported as predicting the class."""

_FEWEST = 20  # files of each class: with fewer, chance alone gives such numbers
_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class CellStats:
    """Statistics of the files of one source and class.

    Attributes:
        source: Name of the source.
        label: ``"real"`` or ``"fake"``.
        files: Number of files that could be read.
        formats: Number of files of each file format.
        modes: Number of files of each colour mode.
        quantiles: 5 %, 50 % and 95 % quantile of each measure.
    """

    source: str
    label: str
    files: int
    formats: dict[str, int]
    modes: dict[str, int]
    quantiles: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Shortcut:
    """Property of files that predicts the class.

    Attributes:
        source: Source within which it does; ``""`` for the whole dataset.
        what: Name of the property.
        strength: Balanced accuracy or ROC AUC of the class by this property alone, in [0.5, 1].
        detail: Values of the property in each class.
    """

    source: str
    what: str
    strength: float
    detail: str

    def __str__(self) -> str:
        where = f" in {self.source}" if self.source else ""
        return f"class is predictable from {self.what}{where}: {self.detail} ({self.strength:.2f}, chance is 0.50)"


@dataclass(frozen=True)
class Stats:
    """Statistics of the files of a dataset.

    Attributes:
        dataset: Root of the dataset.
        cells: Statistics of each source and class.
        shortcuts: Properties that predict the class, the strongest first.
        unreadable: Number of files that could not be read.
        values: For plots, the value of each file: measure → source → class → ``float64 [N]``.
    """

    dataset: str
    cells: tuple[CellStats, ...]
    shortcuts: tuple[Shortcut, ...]
    unreadable: int
    values: dict[str, dict[str, dict[str, NDArray[np.float64]]]]

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as plain data for JSON, without :attr:`values`."""
        return {
            "dataset": self.dataset,
            "unreadable": self.unreadable,
            "cells": [asdict(cell) for cell in self.cells],
            "shortcuts": [asdict(shortcut) for shortcut in self.shortcuts],
        }


def collect(
    dataset: Dataset,
    *,
    faces: bool = False,
    max_images: int | None = None,
    cache: FactCache | None = None,
    threads: int | None = None,
) -> Stats:
    """Inspect the files of a dataset and compare the classes.

    Args:
        dataset: Dataset to inspect.
        faces: Whether to measure faces too, which takes about ten times as long.
        max_images: Most files that are inspected, evenly spread over the dataset.
        cache: Cache of facts: unchanged files are not read again, and new facts are added.
        threads: Number of threads; by default as many as the process may use.

    Raises:
        TrainingDataError: No file can be read.
    """
    rows: dict[tuple[str, str], list[Facts]] = defaultdict(list)
    unreadable = 0
    want = Want(digest="none", face=faces)
    for sample, facts in inspect_all(
        dataset, want, cache=cache, max_images=max_images, threads=threads, description="measuring"
    ):
        if facts is not None and not facts.width:
            unreadable += 1
        elif facts is not None:
            rows[sample.source, LABELS[sample.is_fake]].append(facts)
    if not rows:
        raise TrainingDataError(f"{dataset.root}: none of {unreadable} files can be read; see dfbench data check")
    measures = [name for name in MEASURES if name != "face_px" or faces]
    values = {
        name: {
            source: {label: _measured(rows[source, label], name) for label in LABELS if (source, label) in rows}
            for source in sorted({source for source, _ in rows})
        }
        for name in measures
    }
    cells = tuple(
        CellStats(
            source,
            label,
            len(found),
            dict(Counter(facts.format for facts in found).most_common()),
            dict(Counter(facts.mode for facts in found if facts.mode).most_common()),
            {name: _quantiles(values[name][source][label]) for name in measures},
        )
        for (source, label), found in sorted(rows.items())
    )
    shortcuts = sorted(_shortcuts(rows, measures), key=lambda shortcut: (-shortcut.strength, shortcut.source))
    return Stats(str(dataset.root), cells, tuple(shortcuts), unreadable, values)


def _measured(found: Sequence[Facts], name: str) -> NDArray[np.float64]:
    """Return one number per file, ``float64 [N]``; files that do not have it are left out."""
    if name == "megapixels":
        return np.array([facts.width * facts.height / 1e6 for facts in found])
    if name == "bytes_per_pixel":
        # In a video this number would depend on the length.
        return np.array([facts.size_bytes / (facts.width * facts.height) for facts in found if not facts.video])
    if name == "face_px":
        return np.array([facts.face for facts in found if facts.face])  # 0 means no face, not a small one
    return np.array([facts.brightness for facts in found if facts.brightness is not None])


def _quantiles(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in np.quantile(numbers, _QUANTILES)) if len(numbers) else ()


def _shortcuts(rows: dict[tuple[str, str], list[Facts]], measures: Iterable[str]) -> Iterable[Shortcut]:
    """Yield the shortcuts over the whole dataset, and within each source that has both classes."""
    sources = sorted({source for source, _ in rows})
    both = [source for source in sources if all((source, label) in rows for label in LABELS)]
    for scope in ["", *(both if len(sources) > 1 else ())]:
        real, fake = (
            [
                facts
                for (source, label), found in rows.items()
                if label == wanted and scope in ("", source)
                for facts in found
            ]
            for wanted in LABELS
        )
        if min(len(real), len(fake)) < _FEWEST:
            continue
        for kind, called in KINDS.items():
            if found := _by_kind(real, fake, kind):
                yield Shortcut(scope, called, *found)
        for name in measures:
            if found := _by_measure(_measured(real, name), _measured(fake, name)):
                yield Shortcut(scope, MEASURES[name], *found)


def _by_kind(real: Sequence[Facts], fake: Sequence[Facts], kind: str) -> tuple[float, str] | None:
    """Return the balanced accuracy of assigning each value to the class in which it is more frequent."""
    shares = []
    for found in (real, fake):
        counts = Counter(str(getattr(facts, kind)) for facts in found)
        shares.append({value: count / len(found) for value, count in counts.items()})
    values = {value for share in shares for value in share}
    accuracy = sum(max(share.get(value, 0.0) for share in shares) for value in values) / 2
    if accuracy < PREDICTABLE:
        return None
    most = (max(share.items(), key=lambda item: item[1]) for share in shares)
    detail = ", ".join(
        f"{label} is {value or 'none'} {part:.0%}" for label, (value, part) in zip(LABELS, most, strict=True)
    )
    return accuracy, detail


def _by_measure(real: NDArray[np.float64], fake: NDArray[np.float64]) -> tuple[float, str] | None:
    """Return the ROC AUC of the class by the number, whether real or fake files have the larger one."""
    if min(len(real), len(fake)) < _FEWEST:
        return None
    auc = roc_auc(np.repeat([0, 1], [len(real), len(fake)]), np.concatenate([real, fake]))
    strength = max(auc, 1 - auc)
    if strength < PREDICTABLE:
        return None
    return strength, f"real has a median of {np.median(real):.3g}, fake of {np.median(fake):.3g}"

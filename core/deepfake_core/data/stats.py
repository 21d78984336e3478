"""What the files of a dataset are like, by source and class, and whether that alone gives the class away."""

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
    from deepfake_core.data.state import State
    from deepfake_core.datasets import Dataset

KINDS = {"format": "file format", "mode": "colour mode"}
"""Property of a file that is a word → what to call it."""

MEASURES = {
    "megapixels": "picture size (megapixels)",
    "bytes_per_pixel": "compression (bytes per pixel)",
    "brightness": "brightness",
    "face_px": "face size (pixels)",
}
"""Property of a file that is a number → what to call it."""

PREDICTABLE = 0.75
"""Balanced accuracy, or ROC AUC, from which on a property gives the class away."""

_FEWEST = 20  # of each class: with fewer, chance alone gives such numbers
_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class CellStats:
    """Files of one source and class.

    Attributes:
        source, label: Which.
        files: How many could be read.
        formats, modes: How many of each.
        quantiles: Measure → its 5 %, 50 % and 95 % quantile.
    """

    source: str
    label: str
    files: int
    formats: dict[str, int]
    modes: dict[str, int]
    quantiles: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Shortcut:
    """A property of files that gives the class away.

    Attributes:
        source: Within which source; ``""`` over the whole dataset.
        what: The property.
        strength: Balanced accuracy or AUC of the class by it alone, in [0.5, 1].
        detail: Which values belong to which class.
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
    """What the files of a dataset are like.

    Attributes:
        dataset: Its root.
        cells: Per source and class.
        shortcuts: What gives the class away, the strongest first.
        unreadable: Files that could not be read.
        values: Measure → source → class → its values, for plots.
    """

    dataset: str
    cells: tuple[CellStats, ...]
    shortcuts: tuple[Shortcut, ...]
    unreadable: int
    values: dict[str, dict[str, dict[str, NDArray[np.float64]]]]

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON; without the single values."""
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
    state: State | None = None,
    threads: int | None = None,
) -> Stats:
    """Look into the files and compare the classes.

    Args:
        dataset: What to look at.
        faces: Also find faces, which takes about ten times as long.
        max_images: Look into this many files at most, evenly spread.
        state: What is known of unchanged files already, and what becomes known.
        threads: By default what the machine allows.

    Raises:
        TrainingDataError: No file can be read.
    """
    rows: dict[tuple[str, str], list[Facts]] = defaultdict(list)
    unreadable = 0
    want = Want(digest="none", face=faces)
    for sample, facts in inspect_all(
        dataset, want, state=state, max_images=max_images, threads=threads, description="measuring"
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
    """One number per file, ``float64 [N]``; files that do not have it are left out."""
    if name == "megapixels":
        return np.array([facts.width * facts.height / 1e6 for facts in found])
    if name == "bytes_per_pixel":
        # Of a video this would be its length.
        return np.array([facts.size_bytes / (facts.width * facts.height) for facts in found if not facts.video])
    if name == "face_px":
        return np.array([facts.face for facts in found if facts.face])  # 0 is no face, not a small one
    return np.array([facts.brightness for facts in found if facts.brightness is not None])


def _quantiles(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in np.quantile(numbers, _QUANTILES)) if len(numbers) else ()


def _shortcuts(rows: dict[tuple[str, str], list[Facts]], measures: Iterable[str]) -> Iterable[Shortcut]:
    """Over the whole dataset, and within each source that has both classes."""
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
    """Balanced accuracy of calling each value by the class in which it is the more frequent."""
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
    """AUC of the class by the number, whichever way round."""
    if min(len(real), len(fake)) < _FEWEST:
        return None
    auc = roc_auc(np.repeat([0, 1], [len(real), len(fake)]), np.concatenate([real, fake]))
    strength = max(auc, 1 - auc)
    if strength < PREDICTABLE:
        return None
    return strength, f"real has a median of {np.median(real):.3g}, fake of {np.median(fake):.3g}"

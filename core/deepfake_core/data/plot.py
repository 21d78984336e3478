"""Plot the statistics of a dataset: how real and fake files differ besides their faces."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from deepfake_core.data.check import LABELS
from deepfake_core.data.stats import MEASURES, Stats
from deepfake_core.errors import MissingExtra
from deepfake_registry.files import write_atomic

COLOURS = {"real": "#0072b2", "fake": "#d55e00"}
"""Colours of the classes, which most colour-blind readers can distinguish (Okabe & Ito 2008)."""

_MOST_SOURCES = 8
_BINS = 30


def plot(stats: Stats, path: Path) -> None:
    """Draw the distribution of every measure as a PNG file, with one row for each source.

    If there are more than eight sources, those with both classes and the most files are drawn.

    Args:
        stats: Statistics to draw.
        path: PNG file to write.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ModuleNotFoundError as error:
        raise MissingExtra("drawing statistics", "deepfake-core[report]") from error
    measures = list(stats.values)
    sizes: dict[str, tuple[int, int]] = {}
    for cell in stats.cells:
        classes, files = sizes.get(cell.source, (0, 0))
        sizes[cell.source] = classes + 1, files + cell.files
    sources = sorted(sorted(sizes, key=lambda source: sizes[source], reverse=True)[:_MOST_SOURCES])
    figure = Figure(figsize=(3.4 * len(measures), 0.7 + 1.9 * len(sources)), layout="constrained")
    axes = figure.subplots(len(sources), len(measures), squeeze=False, sharex="col")
    for column, measure in enumerate(measures):
        numbers = [part for source in sources for part in stats.values[measure][source].values()]
        edges = np.histogram_bin_edges(np.concatenate(numbers), _BINS)
        for row, source in enumerate(sources):
            drawn = axes[row, column]
            for label in LABELS:
                found = stats.values[measure][source].get(label)
                if found is not None and len(found):
                    weights = np.full(len(found), 1 / len(found))
                    drawn.hist(found, edges, weights=weights, color=COLOURS[label], alpha=0.55, label=label)
            drawn.set_yticks([])
            drawn.spines[["top", "right", "left"]].set_visible(False)
            if column == 0:
                drawn.set_ylabel(source, fontsize=9)
        axes[0, column].set_title(MEASURES[measure], fontsize=10)
    handles = [Patch(color=COLOURS[label], alpha=0.55, label=label) for label in LABELS]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(LABELS), frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomic(path, buffer.getvalue())

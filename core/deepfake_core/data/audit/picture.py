"""Draw how the strongest findings of an audit are distributed in both classes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfake_core.data.audit.remedies import meaning
from deepfake_core.data.check import LABELS
from deepfake_core.data.plot import COLOURS
from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_registry.files import write_atomic

if TYPE_CHECKING:
    from deepfake_core.data.audit.result import Shortcuts

_BINS = 30
_CUT = 0.5  # share of the values at each end, in per cent, that share the outermost bins


def draw(found: Shortcuts, path: Path) -> None:
    """Draw the distributions of :attr:`Shortcuts.values` side by side as a PNG file.

    Args:
        found: Result of an audit, not one that was read from JSON.
        path: PNG file to write.

    Raises:
        DeepfakeError: The result has no values.
        MissingExtra: matplotlib is not installed.
    """
    if not found.values:
        raise DeepfakeError(f"{path}: a result that was read from a file has no values to draw; audit the data again")
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ModuleNotFoundError as error:
        raise MissingExtra("drawing shortcuts", "deepfake-core[report]") from error
    figure = Figure(figsize=(3.6 * len(found.values), 2.9), layout="constrained")
    axes = figure.subplots(1, len(found.values), squeeze=False)[0]
    auc = {(finding.source, finding.feature): finding.auc for finding in found.worst}
    for drawn, ((source, feature), classes) in zip(axes, found.values.items(), strict=True):
        low, high = np.percentile(np.concatenate(classes), [_CUT, 100 - _CUT])
        edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
        for label, values in zip(LABELS, classes, strict=True):
            weights = np.full(len(values), 1 / len(values))
            drawn.hist(values.clip(edges[0], edges[-1]), edges, weights=weights, color=COLOURS[label], alpha=0.55)
        drawn.set_yticks([])
        drawn.spines[["top", "right", "left"]].set_visible(False)
        drawn.set_xlabel(meaning(feature).called, fontsize=10)
        drawn.set_title(f"{source}\nAUC {auc[source, feature]}", fontsize=10)
    handles = [Patch(color=COLOURS[label], alpha=0.55, label=label) for label in LABELS]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(LABELS), frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomic(path, buffer.getvalue())

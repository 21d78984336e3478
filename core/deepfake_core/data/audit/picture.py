"""Draw how the strongest findings of an audit are distributed in both classes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.audit.remedies import meaning
from deepfake_core.data.check import LABELS
from deepfake_core.data.plot import COLOURS
from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_registry.files import write_atomic

_BINS = 30
_CUT = 0.5  # share of the values at each end, in per cent, that share the outermost bins


def draw(
    values: Mapping[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]],
    aucs: Mapping[tuple[str, str], str],
    path: Path,
) -> None:
    """Draw distributions side by side as a PNG file.

    Args:
        values: (source, number) → the number of the real samples and of the fakes, ``float32 [n]`` each.
        aucs: (source, number) → AUC in words.
        path: PNG file to write.

    Raises:
        DeepfakeError: There are no values.
        MissingExtra: matplotlib is not installed.
    """
    if not values:
        raise DeepfakeError(f"{path}: a result that was read from a file has no values to draw; audit the data again")
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ModuleNotFoundError as error:
        raise MissingExtra("drawing shortcuts", "deepfake-core[report]") from error
    figure = Figure(figsize=(3.6 * len(values), 2.9), layout="constrained")
    axes = figure.subplots(1, len(values), squeeze=False)[0]
    for drawn, ((source, feature), classes) in zip(axes, values.items(), strict=True):
        low, high = np.percentile(np.concatenate(classes), [_CUT, 100 - _CUT])
        edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
        for label, numbers in zip(LABELS, classes, strict=True):
            weights = np.full(len(numbers), 1 / len(numbers))
            drawn.hist(numbers.clip(edges[0], edges[-1]), edges, weights=weights, color=COLOURS[label], alpha=0.55)
        drawn.set_yticks([])
        drawn.spines[["top", "right", "left"]].set_visible(False)
        drawn.set_xlabel(meaning(feature).called, fontsize=10)
        drawn.set_title(f"{source}\nAUC {aucs[source, feature]}", fontsize=10)
    handles = [Patch(color=COLOURS[label], alpha=0.55, label=label) for label in LABELS]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(LABELS), frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomic(path, buffer.getvalue())

"""Draw what leaving out each source in turn has given."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.training.leave_out.results import LeaveOneOut, Measure
from deepfake_registry.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that most colour-blind readers can distinguish (Okabe & Ito 2008); markers differ besides.
_STYLES: dict[Measure, dict[str, Any]] = {
    "auc": {"color": "#0072b2", "marker": "o", "label": "AUC"},
    "found": {"color": "#009e73", "marker": "s", "label": "found at the threshold"},
    "called_fake": {"color": "#e69f00", "marker": "^", "label": "called fake"},
    "false_fake": {"color": "#d55e00", "marker": "D", "label": "real faces called fake"},
}
_PANELS: tuple[tuple[str, str, tuple[Measure, ...]], ...] = (
    ("fakes of a source that was left out", "no fakes", ("auc", "found", "called_fake")),
    ("real faces of a source that was left out", "no real faces", ("false_fake",)),
)


def draw(found: LeaveOneOut, path: Path) -> None:
    """Draw each source's figures with their 95 % intervals as a PNG file, the worst source at the top.

    Args:
        found: Results to draw.
        path: PNG file to write.

    Raises:
        DeepfakeError: There are no results yet.
        MissingExtra: matplotlib is not installed.
    """
    if not found.sources:
        raise DeepfakeError(f"{path}: no source has been left out yet, so that there is nothing to draw")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("drawing figures", "deepfake-core[report]") from error
    figure = Figure(figsize=(11.0, 1.9 + 0.42 * len(found.sources)), layout="constrained")
    for axes, (title, nothing, names) in zip(figure.subplots(1, 2, sharey=True), _PANELS, strict=True):
        _panel(axes, found, names, nothing)
        axes.set(title=title, xlim=(-0.02, 1.02))
        axes.grid(axis="x", color="#eeeeee")
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False, fontsize=9)
    axes.set_yticks(range(len(found.sources)), [row.source for row in found.sources])
    axes.set_ylim(len(found.sources) - 0.5, -0.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def _panel(axes: Axes, found: LeaveOneOut, names: tuple[Measure, ...], nothing: str) -> None:
    for row, source in enumerate(found.sources):
        axes.axhline(row + 0.5, color="#eeeeee", linewidth=1, zorder=0)
        if all(getattr(source, name) is None for name in names):
            axes.text(0.5, row, nothing, color="#777777", fontsize=9, ha="center", va="center")
    for place, name in enumerate(names):
        style = dict(_STYLES[name])
        if (mean := found.means.get(name)) is None:
            continue
        style["label"] += f", mean {mean.mean:.2f}"
        axes.axvline(mean.mean, color=style["color"], linewidth=1, linestyle=":", zorder=0)
        for row, source in enumerate(found.sources):
            if (figure := getattr(source, name)) is None:
                continue
            low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
            reach = [[max(0.0, figure.value - low)], [max(0.0, high - figure.value)]]
            height = row + 0.2 * (place - (len(names) - 1) / 2)
            axes.errorbar(figure.value, height, xerr=reach, linestyle="", markersize=6, capsize=2, **style)
            style.pop("label", None)

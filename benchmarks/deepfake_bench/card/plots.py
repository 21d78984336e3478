"""Pictures of a model card: reliability, ROC and robustness, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_bench.card.findings import Findings, Floats, LabelledLogits, probability
from deepfake_bench.report.labels import variant_label
from deepfake_bench.scenarios.variants import QUICK
from deepfake_core.errors import MissingExtra
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.calibration import balanced_weights
from deepfake_registry.files import write_atomic
from deepfake_registry.manifest import Calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by most colour-blind readers too (Okabe & Ito 2008); markers differ besides.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_UNIT = (-0.02, 1.02)
# The legend below its axes, where no curve can run behind it.
_BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "frameon": False, "fontsize": 9}
_DIAGONAL: dict[str, Any] = {"color": "#888888", "linewidth": 1, "linestyle": "--", "zorder": 0}


def draw(findings: Findings, folder: Path) -> dict[str, str]:
    """Write every picture that there are numbers for.

    Returns:
        File name in ``folder`` → caption of the picture.

    Raises:
        MissingExtra: matplotlib is absent.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("drawing a model card", "deepfake-core[report]") from error
    captions = {}
    sources = list(_sources(findings))
    if sources or findings.validation is not None:
        captions["reliability.png"] = "Reliability: share of fakes by P(fake), before and after calibration"
        figure = Figure(figsize=(9.0, 5.8), layout="constrained")
        _reliability(figure, findings)
        _save(figure, folder / "reliability.png")
    if sources:
        figure = Figure(figsize=(5.6, 5.9), layout="constrained")
        _roc(figure, sources)
        _save(figure, folder / "roc.png")
        captions["roc.png"] = "ROC curve of each source"
    if any(True for _ in _curves(findings)):
        figure = Figure(figsize=(9.0, 5.0), layout="constrained")
        _robustness(figure, findings)
        _save(figure, folder / "robustness.png")
        captions["robustness.png"] = "AUC on changed pictures, by source, with 95 % intervals"
    return captions


def _save(figure: Figure, file: Path) -> None:
    """Write a figure; the same figure gives the same bytes: no date and no version is written into the file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    write_atomic(file, data.getvalue())


def _sources(findings: Findings) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield name, labels and logits of each evaluated source that has both classes."""
    for scores in findings.evaluation:
        for name in np.unique(scores.family).tolist():
            here = scores.family == name
            if len(np.unique(scores.fake[here])) == 2:
                yield name, scores.fake[here], scores.logit[here]


def _reliability(figure: Figure, findings: Findings) -> None:
    fitted = findings.manifest.calibration
    left, right = figure.subplots(1, 2, sharey=True)
    for place, (label, calibration) in enumerate({"before": Calibration(), "after": fitted}.items()):
        if findings.validation is not None:
            _bins(left, findings.validation, calibration, f"{label} calibration", place)
    at_hand = findings.validation is not None
    left.set_title("validation, where it was fitted" if at_hand else "validation: scores are not at hand")
    left.set_ylabel("share of fakes (both classes counted alike)")
    for place, (name, fake, logit) in enumerate(_sources(findings)):
        _bins(right, LabelledLogits(name, logit, fake, np.full(len(fake), name)), fitted, name, place)
    right.set_title("evaluation, after calibration")
    for axes in (left, right):
        axes.axvspan(fitted.unsure_low, fitted.unsure_high, color="#dddddd", label="unsure", zorder=-1)
        axes.plot((0, 1), (0, 1), **_DIAGONAL)
        axes.set(xlabel="P(fake), mean of the bin", xlim=_UNIT, ylim=_UNIT, aspect="equal")
        axes.legend(**_BELOW)


def _bins(axes: Axes, scores: LabelledLogits, calibration: Calibration, label: str, place: int) -> None:
    p_fake = probability(calibration, scores.logit)
    weight = balanced_weights(scores.fake, scores.family)
    p_mean, share, _ = metrics.reliability(scores.fake, p_fake, weight=weight)
    error = metrics.ece(scores.fake, p_fake, weight=weight)
    axes.plot(p_mean, share, **_line(place), markersize=4, label=f"{label}, ECE {error:.3f}")


def _roc(figure: Figure, sources: list[tuple[str, Floats, Floats]]) -> None:
    axes = figure.subplots()
    for place, (name, fake, logit) in enumerate(sources):
        style = {**_line(place), "marker": ""}
        axes.plot(*metrics.roc_curve(fake, logit), **style, label=f"{name}, AUC {metrics.roc_auc(fake, logit):.3f}")
    axes.plot((0, 1), (0, 1), **_DIAGONAL)
    axes.set(xlabel="share of real pictures called fake", ylabel="share of fakes found", xlim=_UNIT, ylim=_UNIT)
    axes.set_aspect("equal")
    axes.legend(**_BELOW)


def _curves(findings: Findings) -> Iterator[tuple[str, list[tuple[float, float, float]]]]:
    """Yield the name of each source with both classes, and its AUC and interval for each variant."""
    for row in findings.measured("robustness"):
        for name in dict.fromkeys(source.source for source in row.sources):
            found = [source.metrics["auc"] for source in row.sources if source.source == name]
            values = [(item.value, item.low, item.high) for item in found]
            known = [(value, low, high) for value, low, high in values if value is not None and low is not None]
            if len(known) == len(QUICK):
                yield name, [(value, low, high if high is not None else value) for value, low, high in known]


def _robustness(figure: Figure, findings: Findings) -> None:
    axes = figure.subplots()
    curves = list(_curves(findings))
    for place, (name, points) in enumerate(curves):
        value, low, high = np.array(points).T
        beside = np.arange(len(points)) + 0.08 * (place - (len(curves) - 1) / 2)
        # A percentile interval need not hold the value itself.
        reach = np.maximum(0.0, (value - low, high - value))
        axes.errorbar(beside, value, yerr=reach, capsize=2, markersize=5, **_line(place), label=name)
    axes.axhline(0.5, **_DIAGONAL)
    axes.set_xticks(range(len(QUICK)), [variant_label(name).replace(" ", "\n", 1) for name in QUICK])
    axes.set(ylabel="AUC")
    axes.grid(axis="y", color="#eeeeee")
    axes.legend(**{**_BELOW, "ncols": 4})


def _line(place: int) -> dict[str, Any]:
    return {"color": _COLOURS[place % len(_COLOURS)], "marker": _MARKERS[place % len(_MARKERS)], "linewidth": 1.5}

"""The words and numbers that reports are shown with: names of detectors, measures and variants, and number formats.

Terminal, HTML page, model cards and published pages all take them from here.
"""

from __future__ import annotations

import math
from pathlib import Path

from deepfake_bench.records.report import ORIGINAL, RECODED, Estimate, Measurement
from deepfake_core.discovery.artifacts import RUN_MODEL

SIGNS = {"<=": "≤", ">=": "≥"}
ACCURACY = {
    "auc": "AUC [95 %]",
    "average_precision": "AP",
    "eer": "EER",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
    "tpr_at_5pct_fpr": "TPR at 5 % FPR",
    "balanced_accuracy": "balanced accuracy",
    "fakes_found": "fakes found",
    "reals_passed": "reals passed",
    "ece": "ECE",
    "brier": "Brier",
}
"""Measure of accuracy → heading of its column; a table has the columns that it has room for."""

UNCHANGED = (ORIGINAL, "clean")
"""Variants of images as they are."""
# Variant, or first word of a variant's name → its name in tables, and its name under the axis of a diagram.
_VARIANTS = {
    ORIGINAL: ("as they are", "as\nis"),
    "clean": ("as they are", "as\nis"),
    "resize_half": ("resized × 0.5", "half\nsize"),
    RECODED: ("re-encoded alike", "re-\ncoded"),
}
_FAMILIES = {
    "jpeg": ("JPEG", "JPEG"),
    "webp": ("WebP", "WebP"),
    "avif": ("AVIF", "AVIF"),
    "blur": ("blur, σ", "blur σ"),
    "noise": ("noise, σ", "noise σ"),
    "random": ("random, ±", "random ±"),
    "pgd": ("PGD, ±", "PGD ±"),
}


# ── what was measured ────────────────────────────────────────────────────────────────────────────────────────


def short_name(detector: str) -> str:
    """Return a detector's name for readers: the last part of a path; of a run's ``model``, that of the run."""
    path = Path(detector)
    return path.parent.name if path.name == RUN_MODEL and path.parent.name else path.name or detector


def conditions_of(row: Measurement) -> tuple[str, str, str]:
    """Return backend, device and threads in words; each is empty where it is not known."""
    threads = f"{row.threads} thread{'s' if row.threads != 1 else ''}" if row.threads else ""
    return row.backend, row.device, threads


def with_details(name: str, *details: str) -> str:
    """Return a name with details in brackets; empty details are left out, and the brackets where all are empty."""
    said = ", ".join(filter(None, details))
    return f"{name} ({said})" if said else name


def who(row: Measurement) -> str:
    """Return what was measured, such as ``lite (onnxruntime, cpu, 2 threads)``."""
    return with_details(short_name(row.detector), *conditions_of(row))


# ── variants of images ───────────────────────────────────────────────────────────────────────────────────────


def variant_label(name: str) -> str:
    """Return a variant's name for tables, such as ``JPEG 90`` for ``jpeg_90``."""
    return _variant(name, 0, " ")


def variant_lines(name: str) -> str:
    """Return a variant's name for the axis of a diagram, mostly in two lines."""
    return _variant(name, 1, "\n")


def family_label(first: str, default: str) -> str:
    """Return the name in diagrams of the variants whose names begin with one word; ``default`` for an unknown word."""
    return _FAMILIES[first][1] if first in _FAMILIES else default


def _variant(name: str, place: int, separator: str) -> str:
    first, _, rest = name.partition("_")
    if name in _VARIANTS or not rest:
        return _VARIANTS.get(name, (name, name))[place]
    family = _FAMILIES.get(first, (first, first))[place]
    return f"{family}{separator}{rest.partition('_')[0]}"


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────


def short(value: float | None) -> str:
    """Return a number with three significant digits and no exponent; a dash where it is undefined."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def number(value: float | None, form: str = ".3f") -> str:
    """Return a number in the format ``form``; a dash where it is undefined."""
    return "–" if value is None or math.isnan(value) else format(value, form)


def interval(estimate: Estimate, form: str = ".3f") -> str:
    """Return a measure with its interval, or alone where it has none; numbers are in the format ``form``."""
    if estimate.low is None or estimate.high is None:
        return number(estimate.value, form)
    return f"{number(estimate.value, form)} [{number(estimate.low, form)}, {number(estimate.high, form)}]"

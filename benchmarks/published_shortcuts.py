"""The block ``shortcuts``: what tells the classes of the training data apart, by the audit's committed result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from deepfake_bench.report.markdown import table
from deepfake_core.data.audit.features import NAMES
from deepfake_core.data.audit.remedies import TOGETHER, meaning
from deepfake_core.data.audit.result import ALL, ALLOWANCE, BOUND, Finding, Shortcuts

RESULT = "shortcuts"
PICTURE = "shortcuts.png"
"""File of the picture below ``docs/assets``."""

BESIDE = (
    "stable_diffusion=sharp_portraits,openforensics",
    *(f"{name}=*" for name in ("all_age_faces", "lfw", "openforensics", "sharp_portraits", "utkface")),
)
"""What stands beside the sources with one class in the training data of the shipped detectors."""

_MANY = 3
"""Sources from which on those that stand beside one are counted instead of named."""


def shortcuts(folder: Path) -> str:
    """Return what tells the classes of each source apart, and each number that is above the bound with its remedy."""
    content = json.loads((folder / f"{RESULT}.json").read_text(encoding="utf-8"))
    found = Shortcuts.from_dict(content)
    rows = []
    for one in found.sources:
        seen = [finding for finding in one.findings if finding.feature in NAMES]
        aucs = (f"{auc.value:.2f}" if auc else "–" for auc in (one.together, one.seen, one.baseline))
        beside = ", ".join(one.beside) if len(one.beside) < _MANY else f"{len(one.beside)} others"
        counts = (f"{one.real:,}", f"{one.fake:,}")
        rows.append((one.source, *counts, beside, _named(one.findings), _named(seen), *aucs))
    header = ("source", "real", "fake", "beside", "strongest", "strongest in pixels", TOGETHER, "in pixels", "random")
    cut = found.settings
    said = (
        f"{cut['faces']:,} faces, cut to {cut['side']} pixels with a margin of {cut['margin']:g}. AUC with its 95 % "
        "interval; 0.5 is chance."
    )
    return "\n\n".join((said, table(header, rows, numbers=(1, 2, 6, 7, 8)), _above(found)))


def _named(findings: Sequence[Finding]) -> str:
    return f"{findings[0].called}: {findings[0].auc}" if findings else "–"


def _above(found: Shortcuts) -> str:
    above: dict[str, list[Finding]] = {}
    for finding in found.exceeds():
        if finding.source != ALL:
            above.setdefault(finding.feature, []).append(finding)
    rows = [
        (meaning(name).called, ", ".join(f"{one.source} {one.auc.value:.2f}" for one in findings), meaning(name).remedy)
        for name, findings in above.items()
    ]
    said = f"Above AUC {BOUND:g} ({TOGETHER}: {BOUND + ALLOWANCE:g}), and not by chance:"
    return f"{said}\n\n{table(('number', 'sources', 'remedy'), rows)}"

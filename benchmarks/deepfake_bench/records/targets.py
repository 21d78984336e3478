"""Documented targets beside measured numbers: ``met``, ``missed``, or ``not measurable here`` with the reason.

A target counts only under the condition that it was stated for. A condition is a list of clauses separated by
``;``, each one of:

``2 CPU cores``
    measured on the CPU with exactly that many threads (``dfbench run --threads 2``);
``CPU``
    measured on the CPU;
``GPU: A40``
    measured on an accelerator whose name contains the words after the colon;
``dataset: celeb-df``
    measured on the dataset of that name (``dfbench run --dataset celeb-df=PATH``);
``recipe: fast``
    measured by training with the recipe of that name.

Any other clause cannot be checked by a program, so its target is not measurable here.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from itertools import groupby

from deepfake_bench.records.report import Measurement, TargetCheck
from deepfake_core.contract.specs import Target

_DATASET = "dataset:"
_COMPARE = {"<=": operator.le, ">=": operator.ge}


def check_targets(targets: Iterable[Target], measurement: Measurement) -> list[TargetCheck]:
    """Hold one measurement against the targets that name its scenario.

    Args:
        targets: Of the measurement's detector.
        measurement: With any status; nothing measured means ``not measurable here``.
    """
    return [_check(target, measurement) for target in targets if target.scenario == measurement.scenario]


def board(rows: Iterable[Measurement]) -> list[tuple[Measurement, TargetCheck]]:
    """Every documented target of a detector once for each backend that was asked about it.

    A measurement that could judge it goes before one that could not. Where a dataset decides nothing, each dataset
    that could judge it has a line of its own; of several rounds, the one in the middle stands for all.

    Args:
        rows: The measurements of a report, in any order.
    """
    found: dict[tuple[str, ...], list[tuple[Measurement, TargetCheck]]] = {}
    for row in rows:
        for check in row.targets:
            what = (check.metric, check.comparison, str(check.target), check.source, check.condition)
            found.setdefault((row.detector, *what), []).append((row, check))
    return [line for lines in found.values() for line in _lines(lines)]


def _lines(found: list[tuple[Measurement, TargetCheck]]) -> list[tuple[Measurement, TargetCheck]]:
    """The lines of one target."""

    def where(line: tuple[Measurement, TargetCheck]) -> tuple[str, ...]:
        row, _ = line
        return row.backend, row.device, str(row.threads), row.dataset.name if row.dataset else ""

    judged = [line for line in found if line[1].judged]
    if not judged:
        return found[:1]
    together = groupby(sorted(judged, key=where), key=where)
    by_value = [sorted(lines, key=lambda line: line[1].measured or 0.0) for _, lines in together]
    return [lines[len(lines) // 2] for lines in by_value]


def documented(check: TargetCheck) -> str:
    """Where a target is documented, what exactly, and what it was stated for."""
    said = check.source + (f": {check.note}" if check.note else "")
    return said + (f" ({check.condition})" if check.condition else "")


def clauses(condition: str) -> list[str]:
    """What a condition consists of."""
    return [clause.strip() for clause in condition.split(";") if clause.strip()]


def dataset_of(target: Target) -> str:
    """Name of the dataset that a target was stated for; empty where it holds on any."""
    named = [
        clause.removeprefix(_DATASET).strip() for clause in clauses(target.condition) if clause.startswith(_DATASET)
    ]
    return named[0] if named else ""


def _check(target: Target, measurement: Measurement) -> TargetCheck:
    value = measurement.metrics.get(target.metric)
    reason = _obstacle(target, measurement, value)
    if reason or value is None:
        verdict = "not measurable here"
    else:
        verdict = "met" if _COMPARE[target.comparison](value, target.value) else "missed"
    return TargetCheck.model_validate(
        {
            "metric": target.metric,
            "comparison": target.comparison,
            "target": target.value,
            "source": target.source,
            "condition": target.condition,
            "note": target.note,
            "measured": value,
            "verdict": verdict,
            "reason": reason,
        }
    )


def _obstacle(target: Target, measurement: Measurement, value: float | None) -> str:
    """Why the target cannot be judged by this measurement; empty when it can."""
    if measurement.status != "measured":
        return measurement.reason
    obstacles = (_unmet_clause(clause, measurement) for clause in clauses(target.condition))
    unmet = next((obstacle for obstacle in obstacles if obstacle), "")
    if unmet:
        return unmet
    return "" if value is not None else f"{target.metric} has no value here"


def _unmet_clause(clause: str, measurement: Measurement) -> str:
    on_cpu = measurement.device.startswith("cpu")
    if cores := re.fullmatch(r"(\d+) CPU cores?", clause):
        if on_cpu and measurement.threads == int(cores[1]):
            return ""
        return f"stated for {clause}; measured with {measurement.threads} threads on {measurement.device}"
    if clause == "CPU":
        return "" if on_cpu else f"stated for the CPU; measured on {measurement.device}"
    if clause.startswith("GPU:"):
        wanted = clause.removeprefix("GPU:").strip()
        here = wanted.lower() in measurement.device.lower() and not on_cpu
        return "" if here else f"stated for the GPU {wanted}; measured on {measurement.device}"
    if clause.startswith(_DATASET):
        wanted = clause.removeprefix(_DATASET).strip()
        name = measurement.dataset.name if measurement.dataset else "none"
        return "" if name == wanted else f"stated for the dataset {wanted}; measured on {name}"
    if clause.startswith("recipe:"):
        wanted, used = clause.removeprefix("recipe:").strip(), measurement.conditions.get("recipe", "none")
        return "" if used == wanted else f"stated for the recipe {wanted}; measured with {used}"
    return f"stated for: {clause}"

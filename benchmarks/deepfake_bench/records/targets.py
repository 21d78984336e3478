"""Documented targets checked against measured numbers.

The verdict is ``met``, ``missed``, ``not measurable here`` with a reason, or ``not judged``: it is about time, and
other work took more than 5 % of the processors.

A target counts only under the condition that it was stated for. A condition is a list of clauses separated by
``;``, each one of:

``2 CPU cores``
    measured on the CPU with exactly that many threads (``dfbench run --threads 2``);
``CPU``
    measured on the CPU;
``GPU: A40``
    measured on an accelerator whose name contains the text after the colon;
``dataset: celeb-df``
    measured on the dataset of that name (``dfbench run --dataset celeb-df=PATH``);
``source: celeb-df``
    the value on that source of the dataset, in place of the one over all sources;
``recipe: fast``
    measured by training with the recipe of that name.

Any other clause cannot be checked by a program, so its target is not measurable here.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from itertools import groupby

from deepfake_bench.records.report import SEEN, Measurement, TargetCheck
from deepfake_bench.records.times import disturbed
from deepfake_core.contract.specs import Target

_DATASET = "dataset:"
_SOURCE = "source:"
_COMPARE = {"<=": operator.le, ">=": operator.ge}


def check_targets(targets: Iterable[Target], measurement: Measurement) -> list[TargetCheck]:
    """Check one measurement against the targets that name its scenario.

    Args:
        targets: Targets of the measurement's detector.
        measurement: Measurement with any status; where nothing was measured, targets are ``not measurable here``.
    """
    return [_check(target, measurement) for target in targets if target.scenario == measurement.scenario]


def board(rows: Iterable[Measurement]) -> list[tuple[Measurement, TargetCheck]]:
    """Return every documented target of the measured detectors, with the measurement that decides it.

    A measurement that decides a target goes before one that cannot. Each backend, device, number of threads and
    dataset that decides it has a line of its own; of several repetitions, the one with the median value stands for all.

    Args:
        rows: Measurements of a report, in any order.
    """
    found: dict[tuple[str, ...], list[tuple[Measurement, TargetCheck]]] = {}
    for row in rows:
        for check in row.targets:
            what = (check.metric, check.comparison, str(check.target), check.source, check.condition)
            found.setdefault((row.detector, *what), []).append((row, check))
    return [line for lines in found.values() for line in _lines(lines)]


def _lines(found: list[tuple[Measurement, TargetCheck]]) -> list[tuple[Measurement, TargetCheck]]:
    """Return the lines of one target."""

    def where(line: tuple[Measurement, TargetCheck]) -> tuple[str, ...]:
        row, _ = line
        return row.backend, row.device, str(row.threads), row.dataset.name if row.dataset else ""

    decided = [line for line in found if line[1].is_decided]
    if not decided:
        return sorted(found, key=lambda line: line[1].verdict != "not judged")[:1]
    together = groupby(sorted(decided, key=where), key=where)
    by_value = [sorted(lines, key=lambda line: line[1].measured or 0.0) for _, lines in together]
    return [lines[len(lines) // 2] for lines in by_value]


def documented(check: TargetCheck) -> str:
    """Return where a target is documented, what exactly, and what it was stated for."""
    said = check.source + (f": {check.note}" if check.note else "")
    return said + (f" ({check.condition})" if check.condition else "")


def no_value(metric: str) -> str:
    """Return the reason of a check that only the missing value prevents."""
    return f"{metric} has no value here"


def clauses(condition: str) -> list[str]:
    """Return the clauses of a condition."""
    return [clause.strip() for clause in condition.split(";") if clause.strip()]


def dataset_of(target: Target) -> str:
    """Return the name of the dataset that a target was stated for; empty where it holds on any."""
    return _named(target, _DATASET)


def _named(target: Target, kind: str) -> str:
    """Return what a clause of a kind names in the condition of a target; empty where it has no such clause."""
    named = [clause.removeprefix(kind).strip() for clause in clauses(target.condition) if clause.startswith(kind)]
    return named[0] if named else ""


def _check(target: Target, measurement: Measurement) -> TargetCheck:
    value = _value(target, measurement)
    reason = _obstacle(target, measurement, value)
    if reason or value is None:
        verdict = "not measurable here"
    elif reason := disturbed(measurement, target.metric):
        verdict = "not judged"
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


def _value(target: Target, measurement: Measurement) -> float | None:
    """Return the value that a target is about: over all sources, or on the source that its condition names."""
    name = _named(target, _SOURCE)
    if not name:
        return measurement.metrics.get(target.metric)
    found = (source.metrics.get(target.metric) for source in measurement.sources if source.source == name)
    estimate = next(found, None)
    return estimate.value if estimate is not None else None


def _obstacle(target: Target, measurement: Measurement, value: float | None) -> str:
    """Return why this measurement cannot decide the target; empty when it can."""
    if measurement.status != "measured":
        return measurement.reason
    obstacles = (_unmet_clause(clause, measurement) for clause in clauses(target.condition))
    unmet = next((obstacle for obstacle in obstacles if obstacle), "")
    if unmet:
        return unmet
    about = _named(target, _SOURCE)
    if any(source.seen_groups for source in measurement.sources if source.source == about or not about):
        return f"{SEEN}: measured on groups that the model was trained on"
    return "" if value is not None else no_value(target.metric)


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
    if clause.startswith(_SOURCE):
        return ""  # a source that was not measured has no value
    if clause.startswith("recipe:"):
        wanted, used = clause.removeprefix("recipe:").strip(), measurement.conditions.get("recipe", "none")
        return "" if used == wanted else f"stated for the recipe {wanted}; measured with {used}"
    return f"stated for: {clause}"

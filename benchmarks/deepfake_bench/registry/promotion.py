"""Whether a benchmark report allows a published model to be promoted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from deepfake_bench.records.report import Measurement, Report, TargetCheck
from deepfake_bench.records.targets import check_targets, dataset_of
from deepfake_core.contract.specs import Target
from deepfake_core.errors import DeepfakeError
from deepfake_registry.manifest import ModelManifest


def own_measurements(report: Report, manifest: ModelManifest, source: str | Path, detector: str) -> list[Measurement]:
    """Return the measurements of this very model: their artefact has the sha256 of one of its files.

    Args:
        report: Report, which may hold measurements of other models too.
        manifest: Manifest of the model.
        source: Name of the report's file, for the message.
        detector: Value of ``dfbench run --detector`` that measures the model.

    Raises:
        DeepfakeError: The report holds no measurement of the model.
    """
    hashes = {file.sha256 for file in manifest.files.values()}
    rows = [row for row in report.measurements if row.artefact_sha256 in hashes]
    if not any(row.status == "measured" for row in rows):
        raise DeepfakeError(
            f"{source}: measures no file of {manifest.name}@{manifest.version} (none of their sha256 is in it); "
            f"measure it: dfbench run --detector {detector} --json report.json"
        )
    return rows


def check_again(targets: Iterable[Target], rows: Iterable[Measurement]) -> list[TargetCheck]:
    """Check every target against every measurement of its scenario: numbers of the report, targets of today."""
    return [check for row in rows for check in check_targets(targets, row)]


def summary(checks: Iterable[TargetCheck]) -> str:
    """Return in one line, for the history of an alias, how many targets were met and which could not be measured."""
    verdicts: dict[tuple[str, str, float, str], set[str]] = {}
    for check in checks:
        verdicts.setdefault((check.metric, check.comparison, check.target, check.condition), set()).add(check.verdict)
    if not verdicts:
        return "no target is documented"
    met = sum(found >= {"met"} for found in verdicts.values())
    unmeasured = [key[0] for key, found in verdicts.items() if found == {"not measurable here"}]
    rest = f"; not measurable here: {', '.join(dict.fromkeys(unmeasured))}" if unmeasured else ""
    return f"{met} of {len(verdicts)} documented targets met{rest}"


def obstacles(manifest: ModelManifest, targets: Sequence[Target], rows: Sequence[Measurement]) -> list[str]:
    """Return the reasons against promoting a model; none where all targets are met that this machine can measure.

    A machine cannot have other hardware, but it can be given a dataset: a target that was stated for one counts.

    Args:
        manifest: Manifest of the model.
        targets: Documented targets of its detector.
        rows: Measurements of the model.
    """
    found = ["the weights are untrained"] if manifest.weights == "untrained" else []
    found += [f"{row.scenario} failed: {row.reason}" for row in rows if row.status == "failed"]
    found += [
        f"{check.metric} is {check.measured:.4g} and should be {check.comparison} {check.target:g} ({check.source})"
        for check in check_again(targets, rows)
        if check.verdict == "missed"
    ]
    measured = {row.scenario for row in rows}
    for scenario in dict.fromkeys(target.scenario for target in targets):
        if scenario not in measured:
            found.append(
                f"{scenario} was not measured, and there is a target for it: dfbench run --scenario {scenario}"
            )
    had = {(row.scenario, row.dataset.name) for row in rows if row.dataset is not None and row.status == "measured"}
    for target in targets:
        name = dataset_of(target)
        if name and target.scenario in measured and (target.scenario, name) not in had:
            found.append(
                f"{target.metric} should be {target.comparison} {target.value:g} on the dataset {name}, which was not "
                f"measured: dfbench run --dataset {name}=PATH"
            )
    return found

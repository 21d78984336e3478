"""Whether a benchmark report allows a published model to be promoted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.report import Measurement, Report, TargetCheck
from deepfake_bench.records.targets import check_targets, dataset_of, no_value
from deepfake_core.contract.specs import Target
from deepfake_core.errors import DeepfakeError
from deepfake_registry.manifest import ModelManifest

LEAST_SAMPLES = 10
"""Least number of scored samples of each class on which a measure of accuracy is held against a target."""


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
    """Return in one line, for the history of an alias, how many targets were met and which were not decided."""
    verdicts: dict[tuple[str, str, float, str], set[str]] = {}
    for check in checks:
        verdicts.setdefault((check.metric, check.comparison, check.target, check.condition), set()).add(check.verdict)
    if not verdicts:
        return "no target is documented"
    met = sum(found >= {"met"} for found in verdicts.values())
    rest = ""
    for verdict, others in (("not judged", {"not measurable here"}), ("not measurable here", set[str]())):
        names = [key[0] for key, found in verdicts.items() if verdict in found and found <= {verdict, *others}]
        rest += f"; {verdict}: {', '.join(dict.fromkeys(names))}" if names else ""
    return f"{met} of {len(verdicts)} documented targets met{rest}"


def obstacles(manifest: ModelManifest, targets: Sequence[Target], rows: Sequence[Measurement]) -> list[str]:
    """Return the reasons against promoting a model; none where it met a target, and all that could be measured.

    A machine cannot have other hardware, but it can be given a dataset: a target that was stated for one counts.

    Args:
        manifest: Manifest of the model.
        targets: Documented targets of its detector.
        rows: Measurements of the model.
    """
    found = ["the weights are untrained"] if manifest.weights == "untrained" else []
    found += [f"{row.scenario} failed: {row.reason}" for row in rows if row.status == "failed"]
    found += [problem for target in targets for problem in _against(target, rows)]
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
    return found + _nothing_held(manifest, targets, check_again(targets, rows)) + _chance(rows)


def _against(target: Target, rows: Sequence[Measurement]) -> Iterator[str]:
    """Yield what measurements say against a model by one target.

    It is missed, on too few samples, without a value, or nothing but times beside which other work ran.
    """
    pairs = [(row, check) for row in rows for check in check_targets([target], row)]
    for row, check in pairs:
        if check.verdict == "missed":
            yield (
                f"{check.metric} is {check.measured:.4g} and should be {check.comparison} {check.target:g} "
                f"({check.source})"
            )
        elif check.is_decided and row.sources and (least := _scored(row)) < LEAST_SAMPLES:
            yield (
                f"{check.metric} was measured on {least} samples of a class, which are too few to hold against a "
                f"target; measure {LEAST_SAMPLES} of each at least: dfbench run --dataset {_name(row)}=PATH"
            )
    if not any(check.is_decided for _, check in pairs):
        yield from dict.fromkeys(
            f"{check.metric} should be {check.comparison} {check.target:g} and was not judged: {check.reason}"
            for _, check in pairs
            if check.verdict == "not judged"
        )
        without = [row for row, check in pairs if check.reason == no_value(target.metric) and row.status == "measured"]
        yield from dict.fromkeys(
            f"{target.metric} should be {target.comparison} {target.value:g} and has no value in {row.scenario}"
            + (f" on {_name(row)}" if row.dataset else "")
            for row in without
        )


def _nothing_held(manifest: ModelManifest, targets: Sequence[Target], checks: Sequence[TargetCheck]) -> list[str]:
    """Return that nothing was held against a target, where that is so."""
    if any(check.is_decided for check in checks):
        return []
    if not targets:
        return [
            f"{manifest.architecture!r} documents no target, so that nothing speaks for the model; its plugin can "
            "state some in targets.toml, see docs/write-a-detector.md"
        ]
    if not checks:
        return ["none of its documented targets was measured"]
    reasons = "; ".join(dict.fromkeys(f"{check.metric}: {check.reason}" for check in checks))
    return [f"none of its documented targets could be measured ({reasons})"]


def _chance(rows: Sequence[Measurement]) -> list[str]:
    """Return where a model ranks no better than chance.

    The plumbing check counts only where no other dataset was measured.
    """
    measured = [row for row in rows if row.scenario == "accuracy" and row.status == "measured"]
    if not measured:
        return ["its accuracy was not measured: dfbench run --scenario accuracy --dataset NAME=PATH"]
    found = []
    for row in [row for row in measured if _name(row) != PLUMBING.name] or measured:
        aucs = {name: row.metrics[name] for name in ("auc", "videos_auc") if name in row.metrics}
        if all(auc is None for auc in aucs.values()):
            found.append(f"its AUC on {_name(row)} is undefined: a class is missing, or nothing has a score")
        found += [
            f"{name} is {auc:.4g} on {_name(row)}, which is no better than chance"
            for name, auc in aucs.items()
            if auc is not None and auc <= 0.5
        ]
        for source in row.sources:
            ranking = source.metrics.get("auc")
            if ranking is not None and ranking.high is not None and ranking.high < 0.5:
                found.append(f"it ranks the real samples of {source.source} ({_name(row)}) above the fakes")
    return found


def _scored(row: Measurement) -> int:
    """Return about how many samples of the rarer class have a score."""
    shares = [1 - source.no_face_rate - source.error_rate for source in row.sources]
    classes = [(source.real, source.fake) for source in row.sources]
    totals = [sum(share * pair[index] for share, pair in zip(shares, classes, strict=True)) for index in (0, 1)]
    return round(min(totals))


def _name(row: Measurement) -> str:
    return row.dataset.name if row.dataset else "its data"

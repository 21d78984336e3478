"""The blocks of a model card: name → text that is made from the findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np

from deepfake_bench.card import kept
from deepfake_bench.card.findings import Findings, probability
from deepfake_bench.card.tables import FLOOR, accuracy_on, has_both, on_dataset, robustness_on, untrained_aucs
from deepfake_bench.records.report import ORIGINAL, RECODED, Measurement
from deepfake_bench.records.times import others_line
from deepfake_bench.report.labels import interval, number
from deepfake_bench.report.markdown import table
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.calibration import balanced_weights
from deepfake_core.training.recipes.settings import flat
from deepfake_registry.manifest import Calibration
from deepfake_registry.provenance import find_terms

_OF_PICTURES = ("", "real", "fake")
"""Roles of sources of pictures, of which a card lists those alone that the weights were trained on."""
_PERCENTILE = re.compile(r"_p\d\d$")
_SPEED = {
    "single_stream": {
        "latency_ms_p50": "network, median, ms",
        "latency_ms_p99": "network, 99 % below, ms",
        "predict_ms_p50": "file to verdict, median, ms",
        "peak_rss_mb": "peak memory, MB",
    },
    "cold_start": {"total_ms_p50": "fresh process to verdict, median, ms", "file_mb": "model file, MB"},
}


def identity(findings: Findings) -> str:
    """Return which model this is, and where and when it was measured."""
    manifest, report = findings.manifest, findings.report
    about = f"Model `{manifest.name}` version {manifest.version}, weights {manifest.weights}"
    if report is None:
        return f"{about}. Not measured yet."
    digests = sorted({row.artefact_sha256 for row in report.measurements if row.artefact_sha256})
    shown = " ".join(f"`{digest}`" for digest in digests)
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(report.machine.libraries.items()))
    return (
        f"{about}, sha256 {shown}. Measured on {report.created[:10]} with deepfake-core {report.project_version}, "
        f"Python {report.machine.python}, {libraries}."
    )


def score(findings: Findings) -> str:
    """Return how a logit becomes a probability and a verdict."""
    fitted = findings.manifest.calibration
    return table(
        ("`p_fake`", "verdict"),
        [
            (f"{fitted.unsure_high:g} and above", "`fake`"),
            (f"from {fitted.unsure_low:g} to below {fitted.unsure_high:g}", "`unsure`"),
            (f"below {fitted.unsure_low:g}", "`real`"),
        ],
    ) + (
        f"\n\n`p_fake = sigmoid(logit / {fitted.temperature:g} {fitted.bias:+g})`, fitted on: {fitted.fitted_on}. "
        f"Where a single threshold is wanted, it is {fitted.threshold:g}."
    )


def sources(findings: Findings) -> str:
    """Return where the training images and the initial weights come from, and on which terms."""
    rows = []
    for source in findings.manifest.provenance:
        known = find_terms(findings.terms, source.name, source.role)
        said = ("–", "–", source.terms) if known is None else (known.what, known.use, known.terms)
        rows.append((source.name, source.role, f"{source.count:,}", *said))
    named = {source.name for source in findings.manifest.provenance}
    others = (item for item in findings.terms if item.name not in named and item.role not in _OF_PICTURES)
    rows += [(item.name, item.role, "–", item.what, item.use, item.terms) for item in others]
    return table(("source", "role", "faces", "what it is", "used for", "terms"), rows, numbers=(2,))


def recipe(findings: Findings) -> str:
    """Return every setting of the network and of its training."""
    settings = {"network": findings.manifest.config, "training": findings.manifest.training}
    rows = [
        (group, f"`{key}`", f"`{value}`")
        for group, held in settings.items()
        for key, value in sorted(flat(held).items())
    ]
    return table(("", "setting", "value"), rows)


def accuracy(findings: Findings) -> str:
    """Return the accuracy per source, beside the untrained baseline; sources of one class are apart."""
    parts = (accuracy_on(row, _probe(row, findings)) for row in findings.measured("accuracy"))
    return "\n\n".join(parts) or _why(findings, "accuracy")


def calibration(findings: Findings) -> str:
    """Return ECE and Brier score before and after calibration; both classes have the same weight.

    Where the validation scores are not at hand, the figures are those that the package keeps.
    """
    fitted = findings.manifest.calibration
    rows = kept.calibration_row(findings) if findings.validation is None else []
    for scores in filter(None, (findings.validation, *findings.evaluation)):
        whole = scores is findings.validation
        for name in ["all families"] if whole else np.unique(scores.family).tolist():
            here = np.ones(len(scores.fake), dtype=bool) if whole else scores.family == name
            fake, family, logit = scores.fake[here], scores.family[here], scores.logit[here]
            if len(np.unique(fake)) < 2:
                continue
            weight = balanced_weights(fake, family)
            before_after = [probability(item, logit) for item in (Calibration(), fitted)]
            ece = [number(metrics.ece(fake, p_fake, weight=weight)) for p_fake in before_after]
            brier = [number(metrics.brier(fake, p_fake, weight=weight)) for p_fake in before_after]
            rows.append((scores.name, name, f"{len(fake)}", *ece, *brier))
    header = ("data", "source", "pictures", "ECE before", "after", "Brier before", "after")
    said = [table(header, rows, numbers=range(2, len(header)))] if rows else [kept.OLDER]
    return "\n\n".join((*said, *_reproduced(findings)))


def _reproduced(findings: Findings) -> Iterator[str]:
    """Yield the validation AUC that training recorded, beside that of these scores."""
    recorded, scores = findings.manifest.metrics.get("validation", {}), findings.validation
    if "auc" in recorded and scores is not None and len(np.unique(scores.fake)) == 2:
        yield (
            f"The AUC over all validation pictures is {number(metrics.roc_auc(scores.fake, scores.logit))}; training "
            f"recorded {number(recorded['auc'])}."
        )
    yield from (f"**Note**: {said}." for said in findings.advice)


def robustness(findings: Findings) -> str:
    """Return the AUC on changed images, per source."""
    return "\n\n".join(map(robustness_on, findings.measured("robustness"))) or _why(findings, "robustness")


def codec(findings: Findings) -> str:
    """Return the check for a codec shortcut: original files beside the same images in one size and format."""
    parts = []
    for row in findings.measured("robustness"):
        floor = untrained_aucs(_probe(row, findings))
        original = {source.source: source.metrics for source in row.sources if source.variant == ORIGINAL}
        rows = [
            (
                source.source,
                interval(original[source.source]["auc"]),
                interval(source.metrics["auc"]),
                interval(source.metrics["auc_change"], "+.3f"),
                floor.get(source.source, "–"),
            )
            for source in row.sources
            if source.variant == RECODED and has_both(source)
        ]
        before, after = (number(row.metrics.get(f"auc_{name}")) for name in (ORIGINAL, RECODED))
        change = number(row.metrics.get("recoded_change"), "+.3f")
        rows.append(("**mean over sources**", before, after, change, floor.get("", "–")))
        header = ("source", "AUC, original files", "AUC, re-encoded alike", "change, paired", FLOOR)
        parts.append("\n\n".join([on_dataset(row), table(header, rows, numbers=range(1, len(header)))]))
    return "\n\n".join(parts) or _why(findings, "robustness")


def speed(findings: Findings) -> str:
    """Return latency at batch 1, start-up time and size, on the machine of the report."""
    measured = [*findings.measured("single_stream"), *findings.measured("cold_start")]
    if not measured:
        return _why(findings, "single_stream")
    rows = [
        (label, number(row.metrics[name], ".1f"), row.conditions.get(_PERCENTILE.sub("", name), ""))
        for row in measured
        for name, label in _SPEED[row.scenario].items()
        if name in row.metrics
    ]
    first = measured[0]
    assert findings.report is not None, "something was measured"
    where = f"{findings.report.machine.cpu}, {first.threads} threads, {first.backend} on {first.device}"
    busy = others_line(measured)
    return f"{where}:{busy and f' {busy}'}\n\n{table(('', 'measured', 'what it includes'), rows, numbers=(1,))}"


BLOCKS: Mapping[str, Callable[[Findings], str]] = MappingProxyType(
    {
        block.__name__: block
        for block in (identity, score, sources, recipe, *kept.BLOCKS, accuracy, calibration, robustness, codec, speed)
    }
)
"""Name of a block → function that returns the text between its marks."""

OF_PACKAGE = (score, sources, recipe, *kept.BLOCKS)
"""Blocks that need no measurement: the package keeps everything that they show."""


def _probe(row: Measurement, findings: Findings) -> Measurement | None:
    """Return the untrained probes on the dataset of a measurement."""
    assert row.dataset is not None, "this scenario is measured on a dataset"
    return next(findings.measured("untrained_probe", row.dataset.name), None)


def _why(findings: Findings, scenario: str) -> str:
    """Return the text in place of numbers: the reason of each measurement that has none."""
    rows = findings.report.measurements if findings.report else ()
    reasons = [row.reason for row in rows if row.scenario == scenario and row.reason]
    return f"Not measured: {'; '.join(dict.fromkeys(reasons)) or 'not asked for'}."

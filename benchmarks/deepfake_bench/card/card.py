"""Model cards: Markdown pages whose prose is written by people and whose numbers are measured.

Their blocks are of the kind ``card``, see :mod:`deepfake_bench.card.marks`. :data:`BLOCKS` lists them; ``pictures``
draws PNG files into a folder beside the page that has the page's name. Given the same findings, a page is the same to
the last byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from deepfake_bench.card import marks
from deepfake_bench.card.findings import Findings, probability
from deepfake_bench.records.report import Measurement, SourceAccuracy
from deepfake_bench.report.figures import ACCURACY, interval, number
from deepfake_bench.scenarios.variants import ORIGINAL, QUICK, RECODED
from deepfake_core.evaluation import metrics
from deepfake_core.evaluation.calibration import balanced_weights
from deepfake_core.training.runs.runfiles import flat
from deepfake_registry.manifest import Calibration
from deepfake_registry.provenance import find_terms

KIND = "card"
PICTURES = "pictures"
_PERCENTILE = re.compile(r"_p\d\d$")
_LABELS = {ORIGINAL: "as they are", "resize_half": "resized × 0.5", RECODED: "re-encoded alike"}
_PROBES = ("network", "pixels")
_FLOOR = f"untrained AUC: {' / '.join(_PROBES)}"
_RATES = ("unsure", "no face", "errors")
_ACCURACY = ("auc", "average_precision", "eer", "tpr_at_5pct_fpr", "balanced_accuracy")
_SPEED = {
    "single_stream": {
        "latency_ms_p50": "network, median, ms",
        "latency_ms_p99": "network, 99 % below, ms",
        "predict_ms_p50": "file to verdict, median, ms",
        "peak_rss_mb": "peak memory, MB",
    },
    "cold_start": {"total_ms_p50": "fresh process to verdict, median, ms", "file_mb": "model file, MB"},
}


# ── filling a page ───────────────────────────────────────────────────────────────────────────────────────────


def blocks_of(page: Path) -> list[str]:
    """Names of the blocks that a page marks.

    Raises:
        DeepfakeError: The page cannot be read, marks none, marks an unknown one, or leaves one open.
    """
    return marks.marked(page, KIND, [*BLOCKS, PICTURES])


def fill(page: Path, findings: Findings) -> None:
    """Write what was found between the marks of a page, whole or not at all.

    Raises:
        DeepfakeError: The page's marks are not in order.
        MissingExtra: It wants pictures, and matplotlib is absent.
    """
    contents = {name: _content(name, page, findings) for name in blocks_of(page)}
    marks.fill(page, KIND, contents)


def _content(name: str, page: Path, findings: Findings) -> str:
    if name != PICTURES:
        return BLOCKS[name](findings)
    from deepfake_bench.card.plots import draw

    captions = draw(findings, page.with_suffix(""))
    return "\n\n".join(f"![{caption}]({page.stem}/{file})" for file, caption in captions.items())


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────────


def identity(findings: Findings) -> str:
    """Which model this is, and where and when it was measured."""
    manifest, report = findings.manifest, findings.report
    digests = sorted({row.artefact_sha256 for row in report.measurements if row.artefact_sha256})
    shown = " ".join(f"`{digest[:16]}`" for digest in digests)
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(report.machine.libraries.items()))
    return (
        f"Model `{manifest.name}` version {manifest.version}, weights {manifest.weights}, sha256 {shown}. Measured "
        f"on {report.created[:10]} with deepfake-core {report.project_version}, Python {report.machine.python}, "
        f"{libraries}."
    )


def score(findings: Findings) -> str:
    """How a logit becomes a probability and a verdict."""
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
    """Where the training pictures and the initial weights come from, and on which terms."""
    rows = []
    for source in findings.manifest.provenance:
        known = find_terms(findings.terms, source.name, source.role)
        said = ("–", "–", source.terms) if known is None else (known.what, known.use, known.terms)
        rows.append((source.name, source.role, f"{source.count:,}", *said))
    named = {source.name for source in findings.manifest.provenance}
    others = (item for item in findings.terms if item.name not in named)
    rows += [(item.name, item.role, "–", item.what, item.use, item.terms) for item in others]
    return table(("source", "role", "faces", "what it is", "used for", "terms"), rows, numbers=(2,))


def recipe(findings: Findings) -> str:
    """Every setting of the network and of its training."""
    settings = {"network": findings.manifest.config, "training": findings.manifest.training}
    rows = [
        (group, f"`{key}`", f"`{value}`")
        for group, held in settings.items()
        for key, value in sorted(flat(held).items())
    ]
    return table(("", "setting", "value"), rows)


def accuracy(findings: Findings) -> str:
    """Per source, beside the untrained baseline; sources of one class apart."""
    parts = (accuracy_on(row, _probe(row, findings)) for row in findings.measured("accuracy"))
    return "\n\n".join(parts) or _why(findings, "accuracy")


def accuracy_on(row: Measurement, probe: Measurement | None) -> str:
    """Accuracy on one dataset, beside the untrained probes of the same."""
    floor = _untrained(probe)
    header = ("source", "real", "fake", *map(ACCURACY.__getitem__, _ACCURACY), *_RATES, _FLOOR)
    rows = [
        (
            source.source,
            f"{source.real}",
            f"{source.fake}",
            interval(source.metrics["auc"]),
            *(number(source.metrics[name].value) for name in _ACCURACY[1:]),
            *_rates(source),
            floor.get(source.source, "–"),
        )
        for source in row.sources
        if _has_both(source)
    ]
    means = (number(row.metrics.get(name)) for name in _ACCURACY)
    rows.append(("**mean over sources**", "", "", *means, "", "", "", floor.get("", "–")))
    parts = [_on(row), table(header, rows, numbers=range(1, len(header)))]
    alone = [(source.source, *_one_class(source), *_rates(source)) for source in row.sources if not _has_both(source)]
    if alone:
        header = ("source of one class", "files", "judged rightly [95 %]", *_RATES)
        parts.append(table(header, alone, numbers=range(1, len(header))))
    notes = [f"- {name}: {text}" for name, text in row.conditions.items()]
    if probe is not None:
        notes += [f"- untrained AUC, {name}: {probe.conditions[name]}" for name in _PROBES]
        notes.append(f"- untrained AUC, both: {probe.conditions['probe']}")
    return "\n\n".join([*parts, "\n".join(notes)])


def calibration(findings: Findings) -> str:
    """ECE and Brier score before and after, both classes counting alike."""
    fitted = findings.manifest.calibration
    rows = []
    for scores in (findings.validation, *findings.evaluation):
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
    return "\n\n".join((table(header, rows, numbers=range(2, len(header))), *_reproduced(findings)))


def _reproduced(findings: Findings) -> Iterator[str]:
    """What training recorded of validation, beside what these scores give."""
    recorded = findings.manifest.metrics.get("validation", {})
    fake, logit = findings.validation.fake, findings.validation.logit
    if "auc" in recorded and len(np.unique(fake)) == 2:
        yield (
            f"The AUC over all validation pictures is {number(metrics.roc_auc(fake, logit))}; training recorded "
            f"{number(recorded['auc'])}."
        )


def robustness(findings: Findings) -> str:
    """AUC on changed pictures, per source."""
    return "\n\n".join(map(robustness_on, findings.measured("robustness"))) or _why(findings, "robustness")


def robustness_on(row: Measurement) -> str:
    """AUC on the changed pictures of one dataset."""
    names = list(dict.fromkeys(source.source for source in row.sources))
    cell = {(source.variant, source.source): source for source in row.sources}
    header = ["pictures", *(_headed(cell[ORIGINAL, name]) for name in names), "mean AUC"]
    rows = [
        (
            variant_label(variant),
            *(_headline(cell[variant, name]) for name in names),
            number(row.metrics.get(f"auc_{variant}")),
        )
        for variant in QUICK
    ]
    notes = "\n".join(f"- {name}: {text}" for name, text in row.conditions.items() if name != "auc_change")
    return "\n\n".join([_on(row), table(header, rows, numbers=range(1, len(header))), notes])


def codec(findings: Findings) -> str:
    """The codec-shortcut check: original files beside the same pictures in one size and format."""
    parts = []
    for row in findings.measured("robustness"):
        floor = _untrained(_probe(row, findings))
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
            if source.variant == RECODED and _has_both(source)
        ]
        before, after = (number(row.metrics.get(f"auc_{name}")) for name in (ORIGINAL, RECODED))
        change = number(row.metrics.get("recoded_change"), "+.3f")
        rows.append(("**mean over sources**", before, after, change, floor.get("", "–")))
        header = ("source", "AUC, original files", "AUC, re-encoded alike", "change, paired", _FLOOR)
        parts.append("\n\n".join([_on(row), table(header, rows, numbers=range(1, len(header)))]))
    return "\n\n".join(parts) or _why(findings, "robustness")


def speed(findings: Findings) -> str:
    """Latency at batch 1, start-up and size, on the machine of the report."""
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
    where = f"{findings.report.machine.cpu}, {first.threads} threads, {first.backend} on {first.device}"
    return f"{where}:\n\n{table(('', 'measured', 'what it includes'), rows, numbers=(1,))}"


BLOCKS: Mapping[str, Callable[[Findings], str]] = MappingProxyType(
    {
        block.__name__: block
        for block in (identity, score, sources, recipe, accuracy, calibration, robustness, codec, speed)
    }
)
"""Name → what stands between its marks."""


# ── parts of blocks ──────────────────────────────────────────────────────────────────────────────────────────


def variant_label(name: str) -> str:
    """A variant's name for readers: ``jpeg_90`` → ``JPEG 90``."""
    kind, _, level = name.partition("_")
    return _LABELS.get(name) or f"{ {'jpeg': 'JPEG', 'blur': 'blur, σ'}[kind] } {level}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A Markdown table; the columns ``numbers`` are aligned to the right."""
    right = set(numbers)
    rule = ("---:" if place in right else "---" for place in range(len(header)))
    lines = (header, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _on(row: Measurement) -> str:
    data = row.dataset
    assert data is not None, "this scenario is measured on a dataset"
    note = f"; {data.note}" if data.note else ""
    return f"On **{data.name}**, {data.samples:,} files, sha256 `{data.sha256[:16]}`{note}:"


def _has_both(source: SourceAccuracy) -> bool:
    return bool(source.real and source.fake)


def _rates(source: SourceAccuracy) -> tuple[str, ...]:
    return tuple(f"{rate:.1%}" for rate in (source.unsure_rate, source.no_face_rate, source.error_rate))


def _one_class(source: SourceAccuracy) -> tuple[str, str]:
    if source.fake:
        return f"{source.fake} fake", interval(source.metrics["fakes_found"])
    return f"{source.real} real", interval(source.metrics["reals_passed"])


def _headed(source: SourceAccuracy) -> str:
    what = "AUC" if _has_both(source) else "fakes found" if source.fake else "reals passed"
    return f"{source.source}: {what}"


def _headline(source: SourceAccuracy) -> str:
    return interval(source.metrics["auc"]) if _has_both(source) else _one_class(source)[1]


def _probe(row: Measurement, findings: Findings) -> Measurement | None:
    """The untrained probes on the dataset of a measurement."""
    assert row.dataset is not None, "this scenario is measured on a dataset"
    return next(findings.measured("untrained_probe", row.dataset.name), None)


def _untrained(probe: Measurement | None) -> dict[str, str]:
    """AUC of the untrained probes by source; their means under the empty name."""
    if probe is None:
        return {}
    aucs = {(source.variant, source.source): source.metrics["auc"].value for source in probe.sources}
    aucs |= {(name, ""): probe.metrics.get(f"auc_{name}") for name in _PROBES}
    names = dict.fromkeys(name for _, name in aucs)
    return {name: " / ".join(number(aucs.get((probe_name, name))) for probe_name in _PROBES) for name in names}


def _why(findings: Findings, scenario: str) -> str:
    """What stands in place of numbers: the reason of each measurement that has none."""
    reasons = [row.reason for row in findings.report.measurements if row.scenario == scenario and row.reason]
    return f"Not measured: {'; '.join(dict.fromkeys(reasons)) or 'not asked for'}."

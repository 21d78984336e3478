"""Tables of one measurement: accuracy and robustness on a dataset, for model cards and published pages."""

from __future__ import annotations

from deepfake_bench.records.report import ORIGINAL, Measurement, SourceAccuracy
from deepfake_bench.report.labels import ACCURACY, interval, number, variant_label
from deepfake_bench.report.markdown import table
from deepfake_bench.scenarios.variants import QUICK

_PROBES = ("network", "pixels")
FLOOR = f"untrained AUC: {' / '.join(_PROBES)}"
_RATES = ("unsure", "no face", "errors")
_ACCURACY = ("auc", "average_precision", "eer", "tpr_at_5pct_fpr", "balanced_accuracy")


def accuracy_on(row: Measurement, probe: Measurement | None) -> str:
    """Return the accuracy on one dataset, beside the untrained probes on the same dataset."""
    floor = untrained_aucs(probe)
    header = ("source", "real", "fake", *map(ACCURACY.__getitem__, _ACCURACY), *_RATES, FLOOR)
    rows = [
        (
            source.title,
            f"{source.real}",
            f"{source.fake}",
            interval(source.metrics["auc"]),
            *(number(source.metrics[name].value) for name in _ACCURACY[1:]),
            *_rates(source),
            floor.get(source.source, "–"),
        )
        for source in row.sources
        if has_both(source)
    ]
    means = (number(row.metrics.get(name)) for name in _ACCURACY)
    rows.append(("**mean over sources**", "", "", *means, "", "", "", floor.get("", "–")))
    parts = [on_dataset(row), table(header, rows, numbers=range(1, len(header)))]
    alone = [(source.title, *_one_class(source), *_rates(source)) for source in row.sources if not has_both(source)]
    if alone:
        header = ("source of one class", "files", "judged rightly [95 %]", *_RATES)
        parts.append(table(header, alone, numbers=range(1, len(header))))
    notes = [f"- {name}: {text}" for name, text in row.conditions.items()]
    if probe is not None:
        notes += [f"- untrained AUC, {name}: {probe.conditions[name]}" for name in _PROBES]
        notes.append(f"- untrained AUC, both: {probe.conditions['probe']}")
    return "\n\n".join([*parts, "\n".join(notes)])


def robustness_on(row: Measurement) -> str:
    """Return the AUC on the changed images of one dataset."""
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
    return "\n\n".join([on_dataset(row), table(header, rows, numbers=range(1, len(header))), notes])


def on_dataset(row: Measurement) -> str:
    """Return a line that names the dataset of a measurement."""
    data = row.dataset
    assert data is not None, "this scenario is measured on a dataset"
    note = f"; {data.note}" if data.note else ""
    return f"On **{data.name}**, {data.samples:,} files, sha256 `{data.sha256[:16]}`{note}:"


def has_both(source: SourceAccuracy) -> bool:
    """Return whether a source has real and fake files."""
    return bool(source.real and source.fake)


def _rates(source: SourceAccuracy) -> tuple[str, ...]:
    return tuple(f"{rate:.1%}" for rate in (source.unsure_rate, source.no_face_rate, source.error_rate))


def _one_class(source: SourceAccuracy) -> tuple[str, str]:
    if source.fake:
        return f"{source.fake} fake", interval(source.metrics["fakes_found"])
    return f"{source.real} real", interval(source.metrics["reals_passed"])


def _headed(source: SourceAccuracy) -> str:
    what = "AUC" if has_both(source) else "fakes found" if source.fake else "reals passed"
    return f"{source.source}: {what}"


def _headline(source: SourceAccuracy) -> str:
    return interval(source.metrics["auc"]) if has_both(source) else _one_class(source)[1]


def untrained_aucs(probe: Measurement | None) -> dict[str, str]:
    """Return the AUC of the untrained probes by source; their means have the empty name."""
    if probe is None:
        return {}
    aucs = {(source.variant, source.source): source.metrics["auc"].value for source in probe.sources}
    aucs |= {(name, ""): probe.metrics.get(f"auc_{name}") for name in _PROBES}
    names = dict.fromkeys(name for _, name in aucs)
    return {name: " / ".join(number(aucs.get((probe_name, name))) for probe_name in _PROBES) for name in names}

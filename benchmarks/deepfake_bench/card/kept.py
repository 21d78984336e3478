"""Blocks of a model card that are made from what the package itself keeps: figures of its training and validation.

They need no measurement, so that they can be filled again at any time. A figure that a package does not keep is said
not to be measured, with the command that measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from deepfake_bench.card.findings import Findings
from deepfake_bench.records.report import Estimate
from deepfake_bench.report.labels import interval, number
from deepfake_bench.report.markdown import table
from deepfake_core.data.audit.remedies import meaning
from deepfake_core.evaluation.band import FEWEST

Metrics = Mapping[str, Any]

_LEAVE_ONE_OUT = "leave_one_out"
_SHORTCUTS = (
    "source",
    "strongest number",
    "its AUC",
    "all together",
    "all in the pixels of the crop",
    "random features",
)
OLDER = "Not measured: these weights were made before training kept such figures in the package."


def validation(findings: Findings) -> str:
    """Return the AUC on held-out groups of each source that training saw, beside that without the source."""
    recorded: Metrics = findings.manifest.metrics.get("validation", {})
    left = _left_out(findings, "auc")
    names = [key.removeprefix("auc_") for key in recorded if key.startswith("auc_") and key != "auc_mean"]
    if not names:
        return _not("it has no validation of its own")
    rows = [(name, number(recorded[f"auc_{name}"]), left.get(name, "–")) for name in names]
    rows.append(("**mean**", number(recorded.get("auc_mean")), _mean(findings, "auc", ".3f")))
    header = ("source, or kind of made fakes", "AUC, seen in training", "AUC [95 %], left out of training")
    return table(header, rows, numbers=(1, 2))


def leave_one_out(findings: Findings) -> str:
    """Return what the recipe makes of each source that it was trained without."""
    found: Metrics | None = findings.manifest.metrics.get(_LEAVE_ONE_OUT)
    if not found:
        return _not("`dfbench leave-one-out` measures them, and writes them into the package")
    columns = {"auc": ".3f", "found": ".1%", "called_fake": ".1%", "false_fake": ".1%"}
    rows = [
        (
            source["source"],
            f"{source['real']:,} + {source['fake']:,}",
            *(_estimate(source[name], form) for name, form in columns.items()),
            ", ".join(source["against"]),
        )
        for source in found["sources"]
    ]
    for which in ("mean", "worst"):
        means = (_mean(findings, name, form, which) for name, form in columns.items())
        rows.append((f"**{which}**", "", *means, ""))
    header = (
        "source left out", "real + fake", "AUC [95 %]", "fakes found", "fakes called `fake`",
        "real faces called `fake`", "beside the real faces of",
    )  # fmt: skip
    parts = [_extent(found), table(header, rows, numbers=range(1, 6))]
    notes = [f"- {source['source']}: {said}" for source in found["sources"] for said in source["warnings"]]
    notes += [f"- {item['source']}: left out of this table, {item['reason']}" for item in found["skipped"]]
    if found["differs"]:
        notes.append(f"- settings in which the recipe of these weights differs: {'; '.join(found['differs'])}")
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def false_alarms(findings: Findings) -> str:
    """Return how many real faces of each validation source are called fake, and how many of the fakes."""
    kept: Metrics = findings.manifest.metrics
    if "false_alarms" not in kept:
        return OLDER
    header = ("{}", "faces", "groups", "called `fake` [95 %]", "P(fake) at the threshold or above", "{}")
    parts = []
    for key, who, beside, left in (
        ("false_alarms", "real faces of", "called `fake`, left out of training", _left_out(findings, "false_fake")),
        ("found", "fakes of", "called `fake`, left out of training", _left_out(findings, "called_fake")),
    ):
        rows = [
            (
                name,
                f"{share['n']:,}",
                f"{share['groups']:,}",
                _estimate({"value": share["share"], **share}, ".1%"),
                number(share["at_threshold"], ".1%"),
                left.get(name, "–"),
            )
            for name, share in kept[key].items()
        ]
        parts.append(table((who, *header[1:-1], beside), rows, numbers=range(1, len(header))))
    return "\n\n".join([*parts, band_in_words(kept["calibration"]["band"])])


def band_in_words(band: Metrics) -> str:
    """Return which real faces decide the upper end of the band, and whether its bound holds."""
    said = (
        f"The real faces of {band['decided_by']} decide from where on the verdict is `fake`: {band['share']:.1%} of "
        f"{band['faces']:,} lie above, in {band['groups']:,} groups, which is at most {band['upper']:.1%} with 95 % "
        "confidence"
    )
    bound = f"{band['bound']:.0%}"
    said += f", within the bound of {bound}." if band["holds"] else f"; **the bound of {bound} is not shown to hold**."
    if few := band["too_few"]:
        said += f" Too few real faces for an interval, fewer than {FEWEST} groups together: {', '.join(few)}."
    return said


def shortcuts(findings: Findings) -> str:
    """Return how well each source's classes are told apart by what has nothing to do with forgery."""
    found: Metrics | None = findings.manifest.metrics.get("shortcuts")
    if not found:
        return OLDER
    parts = []
    for key, title in (("data", "In the pictures as they are:"), ("drawn", "In the pictures as training draws them:")):
        rows = [
            (name, *_audited(source, "auc", "together", "seen", "baseline"))
            for name, source in (found.get(key) or {}).items()
        ]
        parts.append(f"{title}\n\n{table(_SHORTCUTS, rows, numbers=range(2, 6))}" if rows else f"{title} not measured.")
    return "\n\n".join(parts)


def calibration_row(findings: Findings) -> list[tuple[str, ...]]:
    """Return the row of the validation samples in the table of ECE and Brier score; none where none is kept."""
    found: Metrics | None = findings.manifest.metrics.get("calibration")
    if not found:
        return []
    values = [number(found[f"{name}_{when}"]) for name in ("ece", "brier") for when in ("before", "after")]
    return [("validation", "all families", f"{found['samples']}", *values)]


BLOCKS: tuple[Callable[[Findings], str], ...] = (validation, leave_one_out, false_alarms, shortcuts)
"""Functions that return the text between the marks of the block of their name."""


def _not(why: str) -> str:
    return f"Not measured: {why}."


def _estimate(found: Metrics | None, form: str) -> str:
    return (
        "–" if found is None else interval(Estimate(**{name: found[name] for name in ("value", "low", "high")}), form)
    )


def _left_out(findings: Findings, name: str) -> dict[str, str]:
    """Return source → a measure of the run that left it out, with its interval."""
    form = ".3f" if name == "auc" else ".1%"
    sources = findings.manifest.metrics.get(_LEAVE_ONE_OUT, {}).get("sources", ())
    return {source["source"]: _estimate(source[name], form) for source in sources if source[name] is not None}


def _mean(findings: Findings, name: str, form: str, which: str = "mean") -> str:
    means = findings.manifest.metrics.get(_LEAVE_ONE_OUT, {}).get("means", {})
    return number(means[name][which], form) if name in means else "–"


def _extent(found: Metrics) -> str:
    """Return how long each of the runs was that left a source out."""
    steps, minutes = found.get("steps"), found.get("minutes")
    extent = f" of {steps:,} steps" if steps else f" of {minutes:g} minutes" if minutes else ""
    return f"Each source in turn was left out of a short run{extent}, and then measured:"


def _audited(source: Metrics, *aucs: str) -> tuple[str, ...]:
    """Return the strongest number of a source, in words, and AUCs of its audit."""
    called = meaning(source["worst"]).called if source["worst"] else "–"
    return called, *(number(source.get(name), ".2f") for name in aucs)

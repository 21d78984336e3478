"""The block ``strengths``: what each shipped detector is good and bad at, by a rule from the measured numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from deepfake_bench.card.tables import has_both
from deepfake_bench.records.dataset import PLUMBING
from deepfake_bench.records.report import ORIGINAL, Measurement, Report
from deepfake_bench.report.figures import meaningful
from deepfake_bench.report.labels import variant_label
from deepfake_bench.report.markdown import table
from deepfake_bench.scenarios.robustness import MILD
from deepfake_core import load
from published_files import labels_of, report_of

GOOD_AUC, BAD_AUC = 0.85, 0.75
GOOD_GAIN, BAD_GAIN = 0.5, 0.25
"""Share of the fakes that are found, less that of the false alarms."""
MOST_ALARMS = 0.10
MOST_LOST = 0.03
MOST = 3
"""Number of things that are named of each kind."""

RULE = (
    f"Good: an AUC of {GOOD_AUC:g} or more; or, where there are fakes only, {GOOD_GAIN:.0%} more of them found than "
    f"real pictures are false alarms. Bad: an AUC below {BAD_AUC:g}; less than {BAD_GAIN:.0%} more found; more than "
    f"{MOST_ALARMS:.0%} of the real faces of a source called fake; or more than {MOST_LOST:g} AUC lost to JPEG 50, "
    f"half the size or slight blur. At most {MOST} of each are named. *Left out*: a short training of the same recipe "
    "was made without the source."
)


class Remark(NamedTuple):
    """One thing that a detector is good or bad at.

    Attributes:
        margin: How much better than good, or worse than bad, in shares of 1.
        text: The thing, with its number.
    """

    margin: float
    text: str


def strengths(folder: Path) -> str:
    """Return one line for each detector that was measured: what it is good at, and what it is bad at."""
    report, labels = report_of(folder, "evaluation"), labels_of(folder).short
    names = list(dict.fromkeys(row.detector for row in _rows(report, "accuracy")))
    rows = []
    for name in names:
        good, bad = _remarks(report, name, labels)
        rows.append((f"`{name}`", _named(good, "nothing that was measured"), _named(bad, "nothing that was measured")))
    return f"{table(('detector', 'good at', 'bad at'), rows)}\n\n{RULE}"


def _remarks(report: Report, detector: str, labels: Mapping[str, str]) -> tuple[list[Remark], list[Remark]]:
    """Return what a detector is good at, and what it is bad at."""
    good, bad = [], []
    for what, value, least, most, text in [*_evaluated(report, detector), *_left_out(detector)]:
        name = labels.get(what, f"`{what}`")
        if value >= least:
            good.append(Remark(value - least, f"{name} ({text})"))
        elif value < most:
            bad.append(Remark(most - value, f"{name} ({text})"))
    for row in _rows(report, "robustness", detector):
        found = {name: row.metrics.get(f"auc_{name}") for name in (ORIGINAL, *MILD)}
        known = {name: value for name, value in found.items() if value is not None}
        lost = {name: known[ORIGINAL] - value for name, value in known.items() if ORIGINAL in known}
        bad += [
            Remark(loss, f"{variant_label(name)} (−{loss:.2f} AUC)") for name, loss in lost.items() if loss > MOST_LOST
        ]
    return good, bad


Judged = tuple[str, float, float, float, str]
"""Source, value, value from which on it is good, value below which it is bad, and the number in words."""


def _evaluated(report: Report, detector: str) -> Iterator[Judged]:
    """Yield what was measured on sources of pictures that no training saw."""
    for row in _rows(report, "accuracy", detector):
        passed = row.metrics.get("reals_passed")
        alarms = 0.0 if passed is None else 1.0 - passed
        for source in row.sources:
            auc, found = source.metrics["auc"].value, source.metrics["fakes_found"].value
            if has_both(source) and auc is not None and source.groups > _FEW:
                yield source.source, auc, GOOD_AUC, BAD_AUC, f"AUC {auc:.2f}"
            elif source.fake and found is not None and not source.real:
                said = f"{found:.0%} found, {alarms:.0%} false alarms"
                yield source.source, found - alarms, GOOD_GAIN, BAD_GAIN, said


def _left_out(detector: str) -> Iterator[Judged]:
    """Yield what the packaged weights keep about sources that were left out of training."""
    for source in load(detector).manifest.metrics.get("leave_one_out", {}).get("sources", ()):
        if source["auc"] is not None:
            auc = source["auc"]["value"]
            yield source["source"], auc, GOOD_AUC, BAD_AUC, f"left out: AUC {auc:.2f}"
        if source["false_fake"] is not None and (share := source["false_fake"]["value"]) > MOST_ALARMS:
            yield source["source"], -share, 1.0, -MOST_ALARMS, f"left out: {share:.0%} of real faces called fake"


_FEW = 20
"""Groups up to which a source says nothing about a detector."""


def _named(remarks: list[Remark], otherwise: str) -> str:
    clearest = sorted(remarks, key=lambda remark: -remark.margin)[:MOST]
    return "; ".join(remark.text for remark in clearest) or otherwise


def _rows(report: Report, scenario: str, detector: str | None = None) -> Iterator[Measurement]:
    for row in report.measurements:
        on_data = row.dataset is not None and row.dataset.name != PLUMBING.name
        if row.scenario == scenario and meaningful(row) and on_data and detector in (None, row.detector):
            yield row

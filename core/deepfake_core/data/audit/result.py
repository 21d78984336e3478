"""Findings of the audit: how well each number tells the classes of each source apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.audit.remedies import TOGETHER, meaning

BOUND = 0.6
"""AUC from which on a single number counts as a shortcut."""

ALLOWANCE = 0.05
"""How much more than a single number all of them together may reach."""

ALL = "all sources"
"""Name that stands for the samples of all sources together."""

Values = tuple[NDArray[np.float32], NDArray[np.float32]]
"""One number of the real samples and of the fakes, ``float32 [n]`` each."""


@dataclass(frozen=True, slots=True)
class Auc:
    """ROC AUC of the class, where 0.5 is chance, with its 95 % interval.

    Attributes:
        value: The AUC.
        low: Lower end of the interval; ``nan`` where the groups are too few for one.
        high: Upper end of the interval.
        is_certain: Whether it differs from chance at 5 % over all numbers and sources that were tried together.
    """

    value: float
    low: float
    high: float
    is_certain: bool

    def __str__(self) -> str:
        return f"{self.value:.2f}" if math.isnan(self.low) else f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True)
class Finding:
    """How well one number tells the classes of one source apart.

    Attributes:
        source: Name of the source, or :data:`ALL`.
        feature: Name of the number; :data:`~deepfake_core.data.audit.remedies.TOGETHER` for all of them together.
        auc: AUC of the class by this number, whichever class has the larger one: at least 0.5 for a single number.
        larger_in: Class that has the larger numbers.
        real: Median of the real samples.
        fake: Median of the fakes.
    """

    source: str
    feature: str
    auc: Auc
    larger_in: Literal["real", "fake"] = "fake"
    real: float = math.nan
    fake: float = math.nan

    @property
    def called(self) -> str:
        """What the number is called in text."""
        return meaning(self.feature).called

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return meaning(self.feature).remedy

    def __str__(self) -> str:
        medians = "" if math.isnan(self.real) else f": real has a median of {self.real:.3g}, fake of {self.fake:.3g}"
        return f"{self.source}: {self.called} tells the classes apart at AUC {self.auc}{medians}"


@dataclass(frozen=True, slots=True)
class SourceAudit:
    """Findings about one source.

    Attributes:
        source: Name of the source, or :data:`ALL`.
        real: Number of real samples that it was audited with.
        fake: Number of fakes.
        beside: Sources that lent it the class that it lacks.
        problem: Why it could not be audited; ``""`` where it could.
        findings: Every single number, the strongest first.
        together: All numbers together, from a gradient-boosted model that is cross-validated by group.
        seen: The same with those numbers only that the pixels of the crop show, which is what a network can see.
        baseline: Frozen random features of the pixels, from a linear model that is cross-validated by group; ``None``
            where they were not measured.
    """

    source: str
    real: int
    fake: int
    beside: tuple[str, ...] = ()
    problem: str = ""
    findings: tuple[Finding, ...] = ()
    together: Auc | None = None
    seen: Auc | None = None
    baseline: Auc | None = None


@dataclass(frozen=True)
class Shortcuts:
    """Result of an audit.

    Attributes:
        sources: Findings about each source, and about all of them together if there are several.
        left_out: Numbers that could not be measured → the reason.
        unreadable: Number of files that could not be read.
        faceless: Number of files without a face.
        settings: What the samples were cut with, for the report.
        values: For plots, the values of the three strongest findings: (source, number) → real, fake.
    """

    sources: tuple[SourceAudit, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    unreadable: int = 0
    faceless: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[tuple[str, str], Values] = field(default_factory=dict, compare=False)

    @property
    def worst(self) -> tuple[Finding, ...]:
        """Every single number of every source, the strongest first."""
        found = (finding for source in self.sources for finding in source.findings)
        return tuple(sorted(found, key=lambda finding: -finding.auc.value))

    def exceeds(self, bound: float = BOUND) -> tuple[Finding, ...]:
        """Return what tells classes apart better than ``bound``, and certainly not by chance; the strongest first.

        All numbers of a source together may reach :data:`ALLOWANCE` more.

        Args:
            bound: Largest AUC that is accepted, in [0.5, 1].
        """
        together = (Finding(found.source, TOGETHER, found.together) for found in self.sources if found.together)
        above = [finding for finding in self.worst if finding.auc.value > bound]
        above += [finding for finding in together if finding.auc.value > bound + ALLOWANCE]
        return tuple(sorted((one for one in above if one.auc.is_certain), key=lambda one: -one.auc.value))

    def table(self) -> list[tuple[str, ...]]:
        """Return the rows of a table with one line for each source; the first row has the headings.

        Beside the strongest single number, its columns are the AUC of all numbers ``together``, of those that the
        pixels show (``pixels``), and of ``random`` features.
        """
        rows: list[tuple[str, ...]] = [
            ("source", "real", "fake", "beside", "strongest number", "AUC", "together", "pixels", "random")
        ]
        for one in self.sources:
            cells = (one.source, f"{one.real:,}", f"{one.fake:,}", ", ".join(one.beside))
            if one.problem:
                rows.append((*cells, one.problem, "–", "–", "–", "–"))
                continue
            first = one.findings[0] if one.findings else None
            named = (first.called, str(first.auc)) if first else ("–", "–")
            others = (f"{auc.value:.2f}" if auc else "–" for auc in (one.together, one.seen, one.baseline))
            rows.append((*cells, *named, *others))
        return rows

    def short(self) -> dict[str, dict[str, Any]]:
        """Return the strongest number of each source and its AUCs, as plain data for a manifest."""

        def rounded(auc: Auc | None) -> float | None:
            return None if auc is None else round(auc.value, 4)

        return {
            one.source: {
                "worst": one.findings[0].feature if one.findings else None,
                "auc": rounded(one.findings[0].auc if one.findings else None),
                "together": rounded(one.together),
                "seen": rounded(one.seen),
                "baseline": rounded(one.baseline),
            }
            for one in self.sources
            if not one.problem
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything but :attr:`values` as plain data for JSON; numbers that are not known are ``None``."""
        content = {
            "settings": dict(self.settings),
            "unreadable": self.unreadable,
            "faceless": self.faceless,
            "left_out": dict(self.left_out),
            "sources": [asdict(one) for one in self.sources],
        }
        plain: dict[str, Any] = _plain(content)
        return plain

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Shortcuts:
        """Return the result that :meth:`to_dict` gave, without values for plots."""
        sources = (
            SourceAudit(
                one["source"],
                one["real"],
                one["fake"],
                tuple(one["beside"]),
                one["problem"],
                tuple(Finding(**{**_known(row), "auc": _auc(row["auc"])}) for row in one["findings"]),
                _auc(one["together"]),
                _auc(one["seen"]),
                _auc(one["baseline"]),
            )
            for one in content["sources"]
        )
        facts = (content["left_out"], content["unreadable"], content["faceless"], content["settings"])
        return cls(tuple(sources), *facts)

    def plot(self, path: Path) -> None:
        """Draw the distributions of the three strongest findings, one of each number at most, as a PNG file.

        Args:
            path: PNG file to write.

        Raises:
            DeepfakeError: The result was read from JSON, which has no values.
            MissingExtra: matplotlib is not installed.
        """
        from deepfake_core.data.audit.picture import draw

        aucs = {(finding.source, finding.feature): str(finding.auc) for finding in self.worst}
        draw(self.values, aucs, path)


def _auc(content: Mapping[str, Any] | None) -> Any:
    return None if content is None else Auc(**_known(content))


def _known(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in content.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value

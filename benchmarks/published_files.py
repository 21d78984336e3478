"""The files of ``benchmarks/results``: how they are read, and the format of those that are no reports."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, RootModel, ValidationError

from deepfake_bench.records.report import Estimate, Machine, Number, Record, Report, parse_report, read_report
from deepfake_core.errors import DeepfakeError

LABELS = "labels.toml"
_T = TypeVar("_T", bound=BaseModel)


class Figure(BaseModel):
    """One line of the results of ``exported.py`` and ``peers.py``.

    Attributes:
        what: Name of the figure, in Markdown.
        value: The figure; ``None`` where there is none, and ``note`` says why.
        unit: Unit of the figure; empty for a ratio.
        goal: Bound that the figure has to keep; empty where it explains others.
        verdict: Whether the goal was met; empty where there is none.
        note: Remark on the figure.
    """

    what: str
    value: Number
    unit: str
    goal: str
    verdict: Literal["met", "missed", "machine not idle", ""]
    note: str = ""

    def text(self) -> str:
        """Return the figure with its unit and note."""
        if self.value is None:
            return self.note
        return f"{self.value:.4g}{self.unit and ' ' + self.unit}{self.note and f' ({self.note})'}"


class Figures(BaseModel):
    """Results that ``exported.py`` and ``peers.py`` write by ``--json``."""

    created: str
    machine: Machine
    threads: int
    others_share: float
    rows: list[Figure]


class Differences(RootModel[dict[str, dict[str, float]]]):
    """Result of ``pytest tests/foreign --differences``: program → model → largest difference of a logit."""


class Mean(Estimate, extra="ignore"):
    """Mean over images."""


class Likeness(BaseModel):
    """Visibility of a perturbation in the images themselves."""

    psnr_db: Mean
    ssim: Mean


class Effect(BaseModel):
    """Effect of a perturbation on a network; see ``deepfake_unet.effects.Effect``."""

    surrogate: str
    attack: str
    path: str
    change: Mean
    swap_psnr_db: Mean | None
    swap_ssim: Mean | None


class Protection(BaseModel):
    """Result of ``python -m deepfake_unet.evaluate``."""

    model: str
    runtime: str
    epsilon: float
    faces: int
    pgd_steps: int
    quality: dict[str, Likeness]
    trained_against: list[str]
    held_out: list[str]
    effects: list[Effect]


class Shift(BaseModel):
    """What protection does to the verdicts on one source; see ``deepfake_unet.verdicts.Record``."""

    source: str
    way: str
    real: int
    fake: int
    changes: dict[str, int]
    change_real: Estimate
    change_fake: Estimate
    auc_before: Estimate
    auc_after: Estimate
    marked: int
    marked_before: int

    def count(self, label: str, before: str = "", after: str = "") -> int:
        """Return the number of pictures with this label and these verdicts before and after; empty for any."""
        parts = [(key.partition(": "), number) for key, number in self.changes.items()]
        return sum(
            number
            for (found, _, verdicts), number in parts
            if found == label
            and all(one in ("", two) for one, two in zip((before, after), verdicts.split(" > "), strict=True))
        )


class Verdicts(BaseModel):
    """Result of ``python -m deepfake_unet.verdicts``."""

    model: str
    detector: str
    epsilon: float
    sources: list[Shift]


class Labels(Record):
    """Names in the results → their labels on the pages."""

    sources: dict[str, str]
    networks: dict[str, str]
    short: dict[str, str] = {}


def read(folder: Path, name: str, kind: type[_T]) -> _T:
    """Read a result.

    Args:
        folder: Folder of the results.
        name: Name of the result.
        kind: Model of its content.

    Raises:
        DeepfakeError: The file cannot be read, or has other content.
    """
    file = folder / f"{name}.json"
    try:
        return kind.model_validate_json(read_report(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DeepfakeError(f"{file}: {where}: {first['msg']}; measure it: publish.py --only {name}") from error


def report_of(folder: Path, name: str) -> Report:
    """Read a report of ``dfbench run``."""
    file = folder / f"{name}.json"
    return parse_report(read_report(file), file)


def labels_of(folder: Path) -> Labels:
    """Read the labels that lie beside the results."""
    file = folder / LABELS
    try:
        return Labels.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DeepfakeError(f"{file}: no tables [sources] and [networks] of texts: {error}") from error


def where(machine: Machine, created: str) -> str:
    """Return the machine, the libraries and the day of a result in a sentence."""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(machine.libraries.items()))
    return (
        f"{machine.processor}, {machine.allowance} of {machine.cores} CPUs; Python {machine.python}, {libraries}. "
        f"Measured on {created[:10]}."
    )

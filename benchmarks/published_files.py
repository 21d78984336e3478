"""The files of ``benchmarks/results`` that are no reports of ``dfbench run``, and how all of them are read."""

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
    """A line of what ``exported.py`` and ``peers.py`` found.

    Attributes:
        what: Was measured, in Markdown.
        value: Its figure; ``None`` where there is none, and ``note`` says why.
        unit: Of the figure; empty for a ratio.
        goal: What it has to keep; empty where it is there to explain others.
        verdict: Empty where there is no goal.
        note: Stands beside the figure.
    """

    what: str
    value: Number
    unit: str
    goal: str
    verdict: Literal["met", "missed", "machine not idle", ""]
    note: str = ""

    def text(self) -> str:
        """The figure with its unit and note."""
        if self.value is None:
            return self.note
        return f"{self.value:.4g}{self.unit and ' ' + self.unit}{self.note and f' ({self.note})'}"


class Figures(BaseModel):
    """What ``exported.py`` and ``peers.py`` write by ``--json``."""

    created: str
    machine: Machine
    threads: int
    others_share: float
    rows: list[Figure]


class Differences(RootModel[dict[str, dict[str, float]]]):
    """What ``pytest tests/foreign --differences`` writes: program → model → largest difference of a logit."""


class Mean(Estimate, extra="ignore"):
    """A mean over pictures."""


class Likeness(BaseModel):
    """How much a perturbation shows in the pictures themselves."""

    psnr_db: Mean
    ssim: Mean


class Effect(BaseModel):
    """What a perturbation does to a network; see ``deepfake_unet.effects.Effect``."""

    surrogate: str
    attack: str
    path: str
    change: Mean
    swap_psnr_db: Mean | None
    swap_ssim: Mean | None


class Protection(BaseModel):
    """What ``python -m deepfake_unet.evaluate`` writes."""

    model: str
    runtime: str
    epsilon: float
    faces: int
    pgd_steps: int
    quality: dict[str, Likeness]
    trained_against: list[str]
    held_out: list[str]
    effects: list[Effect]


class Labels(Record):
    """What names in the results stand for on the pages."""

    sources: dict[str, str]
    networks: dict[str, str]


def read(folder: Path, name: str, kind: type[_T]) -> _T:
    """The result of a name, as what it is.

    Raises:
        DeepfakeError: It cannot be read, or is something else.
    """
    file = folder / f"{name}.json"
    try:
        return kind.model_validate_json(read_report(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DeepfakeError(f"{file}: {where}: {first['msg']}; measure it: publish.py --only {name}") from error


def report_of(folder: Path, name: str) -> Report:
    """A report of ``dfbench run``."""
    file = folder / f"{name}.json"
    return parse_report(read_report(file), file)


def labels_of(folder: Path) -> Labels:
    """The labels beside the results."""
    file = folder / LABELS
    try:
        return Labels.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DeepfakeError(f"{file}: no tables [sources] and [networks] of texts: {error}") from error

"""Base classes: a scenario, and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from deepfake_bench.records.job import Job
    from deepfake_bench.records.report import DatasetInfo, SourceAccuracy
    from deepfake_core.handle.predictor import Predictor


@dataclass(slots=True)
class ScenarioResult:
    """Result of a scenario; :class:`deepfake_bench.records.report.Measurement` describes the fields."""

    metrics: dict[str, float]
    samples: dict[str, list[float]] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)
    sources: list[SourceAccuracy] = field(default_factory=list)
    dataset: DatasetInfo | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to measure a detector.

    Attributes:
        name: Name that users type.
        summary: One line of text for listings.
        headline: Metric that stands for the scenario.
        also: Further metrics that tables show.
        needs_dataset: Whether it runs once per dataset.
        needs_training: Whether it means nothing on untrained weights, which are then skipped.
        of_pictures: Whether it is about single images, so that detectors of clips are skipped.
        by_default: Whether it runs when no scenario is asked for; ``"cuda"``: only on an accelerator.
        module: Module of its code, below ``deepfake_bench.scenarios``; by default its name.
    """

    name: str
    summary: str
    headline: str
    also: tuple[str, ...] = ()
    needs_dataset: bool = False
    needs_training: bool = False
    of_pictures: bool = False
    by_default: bool | Literal["cuda"] = True
    module: str = ""

    def runs_by_default(self, device: str) -> bool:
        """Return whether it is part of a run on a device that names no scenario."""
        return device.startswith("cuda") if self.by_default == "cuda" else self.by_default

    def measure(self, detector: Predictor, job: Job) -> Iterator[ScenarioResult]:
        """Measure a detector: yield the result, after each part of a scenario that has several what is known so far."""
        module = import_module(f"deepfake_bench.scenarios.{self.module or self.name}")
        run: Callable[[Predictor, Job], ScenarioResult | Iterator[ScenarioResult]] = module.measure
        found = run(detector, job)
        if isinstance(found, ScenarioResult):
            yield found
        else:
            yield from found

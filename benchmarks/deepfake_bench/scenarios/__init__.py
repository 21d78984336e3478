"""What can be measured. Each scenario has one headline metric and a module of its own, imported on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from deepfake_bench.report.report import DatasetInfo, SourceAccuracy
    from deepfake_bench.runner.jobs import Job
    from deepfake_core.handle.loaded import LoadedDetector


@dataclass(slots=True)
class Outcome:
    """What a scenario found; see :class:`deepfake_bench.report.report.Measurement` for the fields."""

    metrics: dict[str, float]
    samples: dict[str, list[float]] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)
    sources: list[SourceAccuracy] = field(default_factory=list)
    dataset: DatasetInfo | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to measure a detector.

    Attributes:
        name: What users type.
        summary: One line for listings.
        headline: The metric that stands for it.
        also: Further metrics that tables show.
        needs_dataset: It runs once per dataset.
        needs_training: It means nothing on untrained weights, which are skipped.
        of_pictures: It looks at single pictures, so that detectors of clips are skipped.
        by_default: It runs when no scenario is asked for: ``"cuda"`` where an accelerator was.
        module: Module of its code, below this package; by default its name.
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
        """Whether it is part of a run on a device that names no scenario."""
        return device.startswith("cuda") if self.by_default == "cuda" else self.by_default

    def measure(self, detector: LoadedDetector, job: Job) -> Outcome:
        """Run it."""
        run: Callable[[LoadedDetector, Job], Outcome] = import_module(f"{__name__}.{self.module or self.name}").measure
        return run(detector, job)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "cold_start",
            "from a fresh process to the first verdict",
            headline="total_ms_p50",
            also=("parameters",),
            module="speed.cold_start",
        ),
        Scenario(
            "single_stream",
            "latency at batch 1, warm",
            headline="latency_ms_p50",
            also=("predict_ms_p50",),
            module="speed.single_stream",
        ),
        Scenario(
            "offline",
            "best throughput over batch sizes",
            headline="images_per_s",
            also=("files_per_s",),
            module="speed.offline",
        ),
        Scenario(
            "train_throughput",
            "training steps, from files and on samples that lie ready",
            headline="images_per_s_on_device",
            also=("images_per_s", "mfu"),
            by_default="cuda",
        ),
        Scenario(
            "server",
            "response times under Poisson arrivals, queue and service together",
            headline="response_ms_load_80_p50",
            also=("response_ms_load_50_p50", "capacity_per_s", "requests_per_s_within_p99"),
            by_default=False,
            module="speed.server",
        ),
        Scenario(
            "accuracy",
            "ranking, operating points and calibration, per source",
            headline="auc",
            needs_dataset=True,
            needs_training=True,
        ),
        Scenario(
            "robustness",
            "accuracy on compressed, reduced, blurred and re-encoded pictures",
            headline="auc_lowest_variant",
            also=("recoded_change",),
            needs_dataset=True,
            needs_training=True,
            of_pictures=True,
            by_default=False,
        ),
        Scenario(
            "attack",
            "accuracy on faces that were changed by a few levels to fool this very network",
            headline="auc_pgd_2",
            also=("auc_clean",),
            needs_dataset=True,
            needs_training=True,
            of_pictures=True,
            by_default=False,
        ),
        Scenario(
            "explain",
            "whether the score follows the places that each explainer names",
            headline="faithfulness_best",
            also=("faithfulness_random",),
            needs_dataset=True,
            needs_training=True,
            of_pictures=True,
            by_default=False,
        ),
        Scenario(
            "untrained_probe",
            "how far a dataset gives its labels away to linear probes that know nothing of fakes",
            headline="auc_network",
            also=("auc_pixels",),
            needs_dataset=True,
            of_pictures=True,
            by_default=False,
        ),
    )
}

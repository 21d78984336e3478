"""The measurements that a run consists of, and those that it leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from deepfake_bench.records.dataset import DatasetRef
from deepfake_bench.records.job import Job
from deepfake_bench.records.report import Measurement
from deepfake_bench.records.targets import check_targets
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_core.discovery import plugins
from deepfake_core.discovery.hub_cache import cached_weights
from deepfake_core.discovery.placed import placed
from deepfake_core.runtimes.threads import allowed_threads

LEFT_OUT = "not part of this run"
"""First words of the reason why a scenario with targets has no measurement."""


def plan(
    detectors: Iterable[str],
    backends: Iterable[str] | None,
    scenarios: Iterable[str] | None,
    datasets: Iterable[DatasetRef],
    *,
    device: str = "auto",
    threads: int | None = None,
    seconds: float = 2.0,
    limit: int | None = None,
    recipe: str = "default",
    data: str = "",
    price_per_core_hour: float | None = None,
    p99_ms: float | None = None,
    variants: Literal["quick", "full"] = "quick",
    out: Path | None = None,
    first: int = 0,
) -> list[Job]:
    """Return every measurement that a run consists of: detector × backend × scenario (× dataset where it needs one).

    Args:
        detectors: Names of detectors, or paths of model files.
        backends: Names of backends; without any, each detector chooses its own.
        scenarios: Names of scenarios; without any, those that run by default on the device.
        datasets: Datasets of the scenarios that need one.
        device: Device that the network runs on.
        threads: Number of threads; by default as many as the process may use.
        seconds: Time of each steady-state measurement, in s.
        limit: Most files of each source and class; by default all of them.
        recipe: Recipe of the scenario ``train_throughput``.
        data: Faces that it reads, ``[LAYOUT:]PATH``; empty for the sample faces.
        price_per_core_hour: Experimental: price that the costs of the scenario ``offline`` are in.
        p99_ms: Experimental: bound on the p99 of the scenario ``server``, in ms.
        variants: List of changes that the scenario ``robustness`` makes.
        out: Folder for the predictions; without one, they are not written.
        first: Number of the first measurement, in the names of files of predictions.
    """
    scenarios = list(scenarios or (item.name for item in SCENARIOS.values() if item.runs_by_default(device)))
    backends = list(backends or ["auto"])
    threads = threads or allowed_threads()
    jobs: list[Job] = []
    for detector in detectors:
        for backend in backends:
            for scenario in scenarios:
                for dataset in list(datasets) if SCENARIOS[scenario].needs_dataset else [None]:
                    job = Job(
                        detector=detector,
                        backend=backend,
                        device=device,
                        threads=threads,
                        scenario=scenario,
                        dataset=dataset,
                        seconds=seconds,
                        limit=limit,
                        recipe=recipe,
                        data=data,
                        price_per_core_hour=price_per_core_hour,
                        p99_ms=p99_ms,
                        variants=variants,
                    )
                    jobs.append(job.model_copy(update={"predictions": _predictions_file(out, job, first + len(jobs))}))
    return jobs


def split_by_weights(detectors: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the detectors that have weights on this machine, or are a file of their own, and those that have none."""
    parts: tuple[list[str], list[str]] = [], []
    for name in detectors:
        known = plugins.detectors().get(name)
        spec = known.spec if known else None
        at_hand = (
            spec is None
            or spec.weights is not None
            or (spec.hub is not None and cached_weights(spec.hub) is not None)
            or placed(name) is not None
        )
        parts[not at_hand].append(name)
    return parts


def _predictions_file(out: Path | None, job: Job, index: int) -> str:
    if out is None or job.dataset is None:
        return ""
    detector = Path(job.detector).name
    return str(out / f"predictions-{index:02d}-{detector}-{job.backend}-{Path(job.dataset.name).name}.csv")


def unmeasured(job: Job, status: Literal["skipped", "failed"], reason: str) -> Measurement:
    """Return the row of a job that could not run; all targets of its detector are ``not measurable here``."""
    row = Measurement(
        detector=job.detector,
        backend=job.backend,
        device=job.device,
        scenario=job.scenario,
        status=status,
        reason=reason,
    )
    known = plugins.detectors().get(job.detector)
    return row.model_copy(update={"targets": check_targets(known.spec.targets if known else (), row)})


def left_out(jobs: Sequence[Job]) -> Iterator[Measurement]:
    """Yield a row for each scenario that a run leaves out though a target is documented for it.

    So a report shows every documented target of its detectors.
    """
    for detector, device in dict.fromkeys((job.detector, job.device) for job in jobs):
        planned = {job.scenario for job in jobs if job.detector == detector}
        known = plugins.detectors().get(detector)
        for scenario in dict.fromkeys(target.scenario for target in (known.spec.targets if known else ())):
            if scenario not in planned:
                job = Job(detector=detector, scenario=scenario, device=device)
                yield unmeasured(job, "skipped", f"{LEFT_OUT}: dfbench run --scenario {scenario}")

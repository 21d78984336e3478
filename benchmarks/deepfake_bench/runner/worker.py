"""One measurement in a process of its own: ``python -m deepfake_bench.runner.worker JOB.json MEASUREMENT.json``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from deepfake_bench.records.artefact import artefact_of
from deepfake_bench.records.job import Job
from deepfake_bench.records.report import Measurement
from deepfake_bench.records.targets import check_targets
from deepfake_bench.runner.plan import unmeasured
from deepfake_bench.scenarios.base import Scenario, ScenarioResult
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_core.discovery import plugins
from deepfake_core.errors import DeepfakeError, MissingExtra, WeightsUnavailable
from deepfake_core.handle.predictor import Predictor
from deepfake_core.loading.load import load
from deepfake_core.runtimes.cpu_contention import CpuContention
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.files import write_atomic


def run_job(job: Job, keep: Callable[[Measurement], object] = lambda _: None) -> Measurement:
    """Load the detector, run the scenario, and check the result against the detector's documented targets.

    A measurement that this machine cannot make (no weights, a missing extra) is skipped with the reason; any other
    :class:`DeepfakeError` makes it a failed one. Other exceptions propagate, and the launcher reports how the process
    ended.

    Args:
        job: Measurement to make.
        keep: Function that is given what is known so far, after each part of a scenario that has several.
    """
    scenario = SCENARIOS[job.scenario]
    try:
        detector = open_detector(job, untrained=not scenario.needs_training)
    except WeightsUnavailable as error:
        if scenario.needs_training:
            reason = f"without weights, scores mean nothing: {error.reason}"
            return unmeasured(job, "skipped", reason).model_copy(update={"weights": "untrained"})
        return unmeasured(job, "skipped", str(error))
    except MissingExtra as error:
        return unmeasured(job, "skipped", str(error))
    except DeepfakeError as error:
        return unmeasured(job, "failed", str(error))
    if scenario.needs_training and detector.manifest.weights == "untrained":
        return _measured(job, detector, "skipped", "untrained weights: the scores mean nothing", ScenarioResult({}))
    if scenario.of_pictures and detector.manifest.preprocess.clip is not None:
        return _measured(
            job, detector, "skipped", "about single pictures; this detector takes clips", ScenarioResult({})
        )
    return _run(scenario, detector, job, keep)


def _run(scenario: Scenario, detector: Predictor, job: Job, keep: Callable[[Measurement], object]) -> Measurement:
    others = CpuContention()
    outcome = ScenarioResult({})
    try:
        for outcome in scenario.measure(detector, job):
            keep(_measured(job, detector, "measured", "", outcome, others.share()))
    except (MissingExtra, WeightsUnavailable) as error:
        return _measured(job, detector, "skipped", str(error), ScenarioResult({}))
    except DeepfakeError as error:
        return _measured(job, detector, "failed", str(error), ScenarioResult({}))
    return _measured(job, detector, "measured", "", outcome, others.share())


def open_detector(job: Job, *, untrained: bool = True) -> Predictor:
    """Load a detector with weights where there are any, otherwise untrained, where that is allowed.

    Args:
        job: Measurement whose detector is loaded.
        untrained: Whether the detector may be untrained, which is enough for speed.

    Raises:
        WeightsUnavailable: There are no weights, and the detector may not or cannot be untrained.
    """
    try:
        return load(job.detector, backend=job.backend, device=job.device, threads=job.threads)
    except WeightsUnavailable:
        if not untrained or job.detector not in plugins.detectors():
            raise
        return load(job.detector, backend=job.backend, device=job.device, threads=job.threads, untrained=True)


def _measured(
    job: Job,
    detector: Predictor,
    status: str,
    reason: str,
    outcome: ScenarioResult,
    others_share: float | None = None,
) -> Measurement:
    manifest = detector.manifest
    measurement = Measurement.model_validate(
        {
            "detector": job.detector,
            "version": manifest.version,
            "weights": manifest.weights,
            "artefact_sha256": artefact_of(detector)[0],
            "backend": detector.runtime.name,
            "device": _device_name(detector.runtime.device),
            "threads": job.threads or allowed_threads(),
            "scenario": job.scenario,
            "dataset": outcome.dataset,
            "status": status,
            "reason": reason,
            "others_share": others_share,
            "conditions": outcome.conditions,
            "metrics": outcome.metrics,
            "samples": outcome.samples,
            "sources": outcome.sources,
        }
    )
    targets = detector.spec.targets if detector.spec is not None else ()
    return measurement.model_copy(update={"targets": check_targets(targets, measurement)})


def _device_name(device: str) -> str:
    if not device.startswith("cuda") or "torch" not in sys.modules:
        return device
    import torch

    return f"cuda: {torch.cuda.get_device_name(torch.device(device))}"


def main() -> None:
    """Read the job from the first file named on the command line, write the measurement to the second."""
    source, target = sys.argv[1:]

    def keep(measurement: Measurement) -> None:
        write_atomic(target, measurement.model_dump_json())

    keep(run_job(Job.model_validate_json(Path(source).read_bytes()), keep))


if __name__ == "__main__":
    main()

"""From a fresh process to the first verdict: what a command-line user waits for."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from deepfake_bench.records.artefact import artefact_of
from deepfake_bench.records.job import Job
from deepfake_bench.scenarios.base import ScenarioResult
from deepfake_bench.scenarios.speed.energy import Energy
from deepfake_bench.scenarios.speed.portrait import PICTURE, write_picture
from deepfake_bench.scenarios.speed.sampling import ENOUGH_S, noise, percentiles
from deepfake_core.errors import MissingExtra, PluginLoadError, UnknownDetector
from deepfake_core.handle.predictor import Predictor
from deepfake_core.timing import timed_ms

REPEATS = 5
"""Number of starts."""
AT_LEAST = 2
"""Starts that are enough once they took ``ENOUGH_S``, and for untrained networks, whose weights are drawn anew."""


def measure(detector: Predictor, job: Job) -> ScenarioResult:
    """Start the module ``probe`` of this package several times; the first start may meet a cold disk cache."""
    _, size_bytes = artefact_of(detector)
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "detector": job.detector,
            "backend": job.backend,
            "device": job.device,
            "threads": job.threads,
            "untrained": detector.manifest.weights == "untrained",
            "picture": str(write_picture(Path(folder))),
        }
        command = [sys.executable, "-m", "deepfake_bench.scenarios.speed.probe", json.dumps(request)]
        answers: list[dict[str, float]] = []

        def start_process() -> None:
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own module
            answers.append(json.loads(done.stdout.splitlines()[-1]))

        totals: list[float] = []
        energy = Energy()
        repeats = AT_LEAST if request["untrained"] else REPEATS
        while len(totals) < AT_LEAST or (len(totals) < repeats and sum(totals) < ENOUGH_S * 1e3):
            with energy:
                totals.append(timed_ms(start_process))
    stages = {name: [answer[name] for answer in answers] for name in answers[0]}
    metrics = {
        **percentiles("total_ms", totals),
        "first_total_ms": totals[0],
        **noise("total_ms", [[total] for total in totals]),
        **energy.per("start", len(totals)),
        **{name: float(np.median(values)) for name, values in stages.items()},
    }
    if size_bytes is not None:
        metrics["file_mb"] = size_bytes / 1e6
    # Where torch or the plugin is absent, the file runs all the same.
    with suppress(MissingExtra, UnknownDetector, PluginLoadError):
        metrics["parameters"] = detector.num_parameters
    return ScenarioResult(
        metrics=metrics,
        samples={"total_ms": totals, **stages},
        conditions={
            "total_ms": f"whole process, from its start to its end, {PICTURE}; {len(totals)} fresh processes",
            "import_ms": "import of deepfake_core.load; a median, as load_ms, predict_ms and peak_rss_mb are",
            "file_mb": "size of the model file, in 10^6 bytes",
            "noise": "range of the times over their median; iqr: interquartile range over the median",
            **energy.conditions(),
            "parameters": "of the network as it is trained; counted where torch is installed",
        },
    )

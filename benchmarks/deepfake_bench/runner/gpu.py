"""Measure a machine with a GPU in a few minutes: ``python -m deepfake_bench.runner.gpu``, which ``gpu.sh`` starts.

The most telling measurements come first, and the report is written anew after each of them, whole or not at all. So a
run that is cut off at any moment leaves a report of what was measured by then.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_bench.records.job import Job
from deepfake_bench.records.report import Measurement
from deepfake_bench.runner.launcher import ENDED_EARLY, end, launch
from deepfake_bench.runner.machine import make_report
from deepfake_bench.runner.plan import unmeasured
from deepfake_bench.scenarios.catalogue import SCENARIOS
from deepfake_core.discovery import plugins
from deepfake_core.errors import DeepfakeError
from deepfake_core.loading.backends import check_device
from deepfake_registry.files import check_writable

NOT_REACHED = "the run ended before this measurement; give it more time: --minutes"
"""Reason of a measurement that was planned and not made."""
_TINY_S = 300.0  # most time of a measurement that shows only that it can be made, on a busy machine, too
_SHORTEST_S = 5.0  # that is left for a measurement, or it is not begun

_FIRST: dict[str, dict[str, Any]] = {"lite": {"batch_size": 256}, "radar": {"recipe": "fast"}}
"""Detectors whose rate of training is a target, with what they are trained with: the batch that a GPU needs."""
_ORDER = ("lite", "radar", "unet", "dualstream", "siglip", "cvt")
_ON_ONNXRUNTIME = ("lite", "unet")
"""Detectors that come with a file for ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A measurement, with the most time in s that it may take."""

    job: Job
    limit_s: float


def planned(
    detectors: Iterable[str], *, device: str, data: str = "", seconds: float = 2.0, tiny: bool = False
) -> list[Planned]:
    """Return the measurements of a run, the most telling first.

    Args:
        detectors: Names of detectors.
        device: Device that is measured.
        data: Faces to train on, ``[LAYOUT:]PATH``; empty for the sample faces.
        seconds: Time of each steady-state measurement, in s.
        tiny: Whether to plan one step of each kind and one latency alone, which show that a run comes to its end.
    """
    names = sorted(detectors, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))

    def train(name: str, limit_s: float, *parts: str, **settings: Any) -> Planned:
        job = Job(
            detector=name, backend="torch", device=device, scenario="train_throughput", seconds=seconds, data=data,
            parts=parts, **settings,
        )  # fmt: skip
        return Planned(job, limit_s)

    def judge(name: str, scenario: str, backend: Any = "torch", limit_s: float = 45) -> Planned:
        return Planned(Job(detector=name, backend=backend, device=device, scenario=scenario, seconds=seconds), limit_s)

    first, others = ([name for name in names if (name in _FIRST) is wanted] for wanted in (True, False))
    if tiny:
        return [
            train("lite", _TINY_S, "ready", "pairs", "store", "shares", "agreement", batch_size=2, steps=1),
            judge("unet", "single_stream", "onnxruntime", _TINY_S),
        ]
    return [
        *(
            train(name, 200, "ready", "compiled", "pairs", "store", "shares", "agreement", **_FIRST[name])
            for name in first
        ),
        *(train(name, 60, "ready", "pairs", "store", "shares", "full") for name in others),
        *(judge(name, "single_stream") for name in (*others, *first)),
        *(judge(name, "single_stream", "onnxruntime") for name in names if name in _ON_ONNXRUNTIME),
        *(train(name, 60, "cpu") for name in (*others, *first)),
        *(train(name, 60, "files", recipe=recipe) for name in names if name == "radar" for recipe in ("fast", "full")),
        *(judge(name, "offline") for name in names),
        *(train(name, 60, "mfu", **_FIRST[name]) for name in first),
        *(train(name, 90, "compiled") for name in others),
    ]


class GpuRun:
    """A run that leaves a whole report at any moment.

    Args:
        plan: Measurements, in their order.
        file: File of the report.
        minutes: Time of the whole run.
    """

    def __init__(self, plan: Sequence[Planned], file: Path, minutes: float) -> None:
        self.plan, self.file = plan, file
        self.ends = time.monotonic() + 60 * minutes
        self.rows = [unmeasured(item.job, "skipped", NOT_REACHED) for item in plan]
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self, *_: object) -> None:
        """End the measurement that runs, keep what it has found, and begin no other one."""
        self.ends = 0.0
        if self._process is not None:
            self._process.terminate()

    def run(self) -> Iterator[Measurement]:
        """Yield each measurement that is made, after the report with it was written."""
        self._write()
        with tempfile.TemporaryDirectory(prefix="dfbench-") as cache:
            for number, item in enumerate(self.plan):
                left = self.ends - time.monotonic()
                if left < _SHORTEST_S:
                    return
                job = item.job.model_copy(update={"cache": cache})
                row = _without(cache, launch(job, seconds=min(item.limit_s, left), started=self._started))
                self.rows[number] = row
                self._write()
                yield row

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        if not self.ends:  # the run was stopped in between
            end(process)

    def _write(self) -> None:
        make_report(self.rows).write(self.file)


def _without(folder: str, row: Measurement) -> Measurement:
    """Return a measurement whose messages name files without the folder of this run."""
    return Measurement.model_validate_json(row.model_dump_json().replace(f"{folder}/", ""))


def _line(row: Measurement) -> str:
    headline = SCENARIOS[row.scenario].headline
    figures = [
        f"{name} {row.metrics[name]:.4g}" for name in (headline, *SCENARIOS[row.scenario].also) if row.metrics.get(name)
    ]
    said = [row.status if row.status != "measured" else "", *figures, row.reason, row.conditions.get(ENDED_EARLY, "")]
    return f"{row.detector}, {row.scenario}, {row.backend}: {', '.join(filter(None, said))}"


def main() -> None:
    """Measure, and say after each measurement what it found; the exit status is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="gpu.sh", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=8, help="time of the whole run (8)")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), metavar="FILE", help="report (gpu.json)")
    parser.add_argument("--data", default="", metavar="[LAYOUT:]PATH", help="faces to train on; by default drawn ones")
    parser.add_argument("--device", default="cuda", help="device to measure (cuda)")
    parser.add_argument("--seconds", type=float, default=2, help="time of each steady-state measurement (2)")
    parser.add_argument(
        "--tiny", action="store_true", help="one step of each kind and one latency, to see that it runs"
    )
    options = parser.parse_args()
    if options.minutes <= 0 or options.seconds <= 0:
        parser.error("--minutes and --seconds must be positive")
    try:
        check_device(options.device)
        check_writable(options.json)
        seconds = 0.01 if options.tiny else options.seconds
        plan = planned(
            plugins.detectors(), device=options.device, data=options.data, seconds=seconds, tiny=options.tiny
        )
        run = GpuRun(plan, options.json, options.minutes)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, run.stop)
        for count, row in enumerate(run.run(), 1):
            sys.stderr.write(f"{count} of {len(plan)}: {_line(row)}\n")
    except DeepfakeError as error:
        raise SystemExit(f"gpu.sh: {error}") from error
    missing = sum(row.reason == NOT_REACHED for row in run.rows)
    sys.stderr.write(f"{options.json}: {len(plan) - missing} measurements; {missing} were not reached\n")
    raise SystemExit(any(row.status == "failed" for row in run.rows))


if __name__ == "__main__":
    main()

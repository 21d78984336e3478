"""Run each measurement in a process of its own, so that none disturbs, slows or kills another."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from deepfake_bench.records.job import Job
from deepfake_bench.records.report import Measurement, Report
from deepfake_bench.runner.machine import make_report
from deepfake_bench.runner.plan import unmeasured
from deepfake_core.errors import DeepfakeError
from deepfake_registry.files import write_atomic

WORKER = (sys.executable, "-m", "deepfake_bench.runner.worker")
_GRACE_S = 5  # between asking a process to end and ending it
_DESCRIBE = "from deepfake_bench.runner.machine import make_report; print(make_report([]).model_dump_json())"


ENDED_EARLY = "ended early"
"""Condition of a measurement that holds a part of its figures, because its process did not end by itself."""


def launch(
    job: Job,
    command: Sequence[str] = WORKER,
    *,
    seconds: float | None = None,
    started: Callable[[subprocess.Popen[bytes]], object] = lambda _: None,
) -> Measurement:
    """Measure one job. Of a process that dies or takes too long, what it had measured by then counts.

    Args:
        job: Measurement to make.
        command: Command of the worker; the file of the job and the file for the measurement are added to it.
        seconds: Most time that the process may take; by default as much as it needs.
        started: Function that is given the process, to end it before its time.
    """
    with tempfile.TemporaryDirectory(prefix="dfbench-") as name:
        folder = Path(name)
        source, target, log = folder / "job.json", folder / "measurement.json", folder / "log.txt"
        source.write_text(job.model_dump_json(), encoding="utf-8")
        with log.open("wb") as stream:
            line = [*command, str(source), str(target)]
            with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream) as process:  # noqa: S603
                started(process)
                late = _end_if_late(process, seconds)
        measured = Measurement.model_validate_json(target.read_bytes()) if target.exists() else None
        if process.returncode == 0 and measured:
            return measured
        said = log.read_text(encoding="utf-8", errors="replace")
        reason = f"ended after {seconds:.0f} s, its limit" if late else _how_it_ended(process.returncode, said)
        if measured is None:
            return unmeasured(job, "failed", reason)
        return measured.model_copy(update={"conditions": {**measured.conditions, ENDED_EARLY: reason}})


def _end_if_late(process: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Wait for a process and end it after its time; return whether it was late."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        end(process)
        return True
    except BaseException:
        process.kill()
        raise
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, by force after some seconds. Loading processes that it started end when they miss it."""
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def installation(python: str | None = None) -> Report:
    """Return a report without measurements: the version of this project and of the libraries that a Python has.

    Args:
        python: Python of another environment; by default this one.

    Raises:
        DeepfakeError: The Python cannot be run, or has no benchmark whose reports can be read here.
    """
    if python is None:
        return make_report([])
    try:
        done = subprocess.run([python, "-c", _DESCRIBE], capture_output=True, check=True)  # noqa: S603 - the user's
        return Report.model_validate_json(done.stdout)
    except OSError as error:
        reason = error.strerror
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    except ValidationError:
        reason = "its reports are of another kind"
    raise DeepfakeError(f"{python}: nothing to measure beside ({reason}); name a Python that has deepfake-core")


class ResumableRun:
    """A run whose measurements are kept in a folder as they are made, so that it can go on after an interruption.

    Args:
        folder: Folder of the measurements; ``None`` keeps nothing.
        resume: Whether to take measurements of this machine and these versions of the libraries from the folder.
        python: Python of another environment that measures; by default this one.

    Attributes:
        folder: Folder of the measurements.
        resume: Whether measurements are taken from the folder.
        command: Command of the worker.
        about: Report without measurements that describes the environment that measures.
        made_by: Version of this project and description of the machine.
    """

    def __init__(self, folder: Path | None, *, resume: bool, python: str | None = None) -> None:
        self.folder, self.resume = folder, resume
        self.command = WORKER if python is None else (python, *WORKER[1:])
        self.about = installation(python)
        self.made_by = [self.about.project_version, self.about.machine.model_dump()]

    def launch(self, number: int, job: Job) -> Measurement:
        """Return the measurement of a job: the one that was made before, or a new one.

        A measurement that failed is made again.

        Args:
            number: Place of the job in the run.
            job: Measurement to make.
        """
        if self.folder is None:
            return launch(job, self.command)
        made_by = json.dumps([number, job.model_dump(mode="json"), *self.made_by], sort_keys=True)
        file = self.folder / f"{hashlib.sha256(made_by.encode()).hexdigest()[:24]}.json"
        if self.resume and file.exists():
            with suppress(ValidationError):
                return Measurement.model_validate_json(file.read_bytes())
        measured = launch(job, self.command)
        if measured.status != "failed":
            write_atomic(file, measured.model_dump_json())
        return measured


def _how_it_ended(code: int, log: str) -> str:
    """Return in one line the signal or exit status, and the last line that the process printed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = f": {lines[-1][:300]}" if lines else ""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the measuring process was ended by {name}{hint}{last}"
    return f"the measuring process ended with status {code}{last}"

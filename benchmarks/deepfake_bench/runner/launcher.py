"""Run each measurement in a process of its own, so that none disturbs, slows or kills another."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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
_DESCRIBE = "from deepfake_bench.runner.machine import make_report; print(make_report([]).model_dump_json())"


def launch(job: Job, command: Sequence[str] = WORKER) -> Measurement:
    """Measure one job; a process that dies is a failed measurement.

    Args:
        job: Measurement to make.
        command: Command of the worker; the file of the job and the file for the measurement are added to it.
    """
    with tempfile.TemporaryDirectory(prefix="dfbench-") as name:
        folder = Path(name)
        source, target, log = folder / "job.json", folder / "measurement.json", folder / "log.txt"
        source.write_text(job.model_dump_json(), encoding="utf-8")
        with log.open("wb") as stream:
            line = [*command, str(source), str(target)]
            done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False)  # noqa: S603
        if done.returncode == 0 and target.exists():
            return Measurement.model_validate_json(target.read_bytes())
        said = log.read_text(encoding="utf-8", errors="replace")
        return unmeasured(job, "failed", _how_it_ended(done.returncode, said))


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

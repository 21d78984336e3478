"""What the launcher asks of a worker process, as data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from deepfake_bench.report import Measurement, Record
from deepfake_bench.targets import check_targets
from deepfake_core import plugins
from deepfake_core.errors import TrainingDataError
from deepfake_registry.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deepfake_core.loaded import LoadedDetector

DATA = Path(__file__).parent / "data"
_FORMATS = {"onnxruntime": "onnx", "torch": "safetensors"}  # which file of a package each runtime runs


class DatasetRef(Record):
    """A dataset, as the user named it."""

    name: str
    layout: str = Field(description="the dataset plugin that reads it")
    path: str
    note: str = ""


class Job(Record):
    """One measurement: a detector on a backend, under one scenario."""

    detector: str
    backend: Literal["auto", "onnxruntime", "torch"] = "auto"
    device: str = "auto"
    threads: int | None = None
    scenario: str
    dataset: DatasetRef | None = None
    seconds: float = Field(3.0, gt=0, description="time for each steady-state measurement")
    limit: int | None = Field(None, gt=0, description="most files of each source and class, spread evenly over them")
    predictions: str = Field("", description="CSV file that takes every score; empty for none")


PLUMBING = DatasetRef(
    name="plumbing-check",
    layout="image-folder",
    path=str(DATA / "plumbing"),
    note="24 views of one public-domain portrait: shows that the pipeline runs, says nothing about accuracy",
)


def parse_dataset(text: str) -> DatasetRef:
    """Read ``PATH`` (an image folder), ``LAYOUT:PATH`` or ``NAME=LAYOUT:PATH``.

    Without a name, the dataset is called after its folder.

    Raises:
        TrainingDataError: There is no such layout or path.
    """
    name, equals, rest = text.partition("=")
    if not equals or Path(text).exists():
        name, rest = "", text
    layout, colon, path = rest.partition(":")
    if not colon or Path(rest).exists():
        layout, path = "image-folder", rest
    if layout not in plugins.datasets():
        raise TrainingDataError(f"unknown dataset layout {layout!r}; installed: {', '.join(plugins.datasets())}")
    if not Path(path).exists():
        raise TrainingDataError(f"{path}: no such dataset; give PATH, LAYOUT:PATH or NAME=LAYOUT:PATH")
    return DatasetRef(name=name or Path(path).resolve().name, layout=layout, path=path)


def plan(
    detectors: Iterable[str],
    backends: Iterable[str],
    scenarios: Iterable[str],
    datasets: Iterable[DatasetRef],
    *,
    device: str = "auto",
    threads: int | None = None,
    seconds: float = 3.0,
    limit: int | None = None,
    out: Path | None = None,
) -> list[Job]:
    """Every measurement that a run consists of: detector × backend × scenario (× dataset where it needs one)."""
    from deepfake_bench.scenarios import SCENARIOS

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
                    )
                    jobs.append(job.model_copy(update={"predictions": _predictions_file(out, job, len(jobs))}))
    return jobs


def _predictions_file(out: Path | None, job: Job, index: int) -> str:
    if out is None or job.dataset is None:
        return ""
    detector = Path(job.detector).name
    return str(out / f"predictions-{index:02d}-{detector}-{job.backend}-{Path(job.dataset.name).name}.csv")


def unmeasured(job: Job, status: Literal["skipped", "failed"], reason: str) -> Measurement:
    """The row of a job that could not run, with its detector's targets all ``not measurable here``."""
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


def artefact_of(job: Job, detector: LoadedDetector) -> tuple[str, int | None]:
    """Hex sha256 and size in bytes of the model file that runs; ``("", None)`` when there is none."""
    path = Path(job.detector)
    if path.is_file():
        return sha256_file(path), path.stat().st_size
    reference = detector.manifest.files.get(_FORMATS[detector.runtime.name])
    return ("", None) if reference is None else (reference.sha256, reference.size_bytes)

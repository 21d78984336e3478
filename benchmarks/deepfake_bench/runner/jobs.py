"""What the launcher asks of a worker process, as data."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from deepfake_bench.report.report import Measurement, Record
from deepfake_bench.report.targets import check_targets
from deepfake_core.datasets.opening import Address, open_address, resolved
from deepfake_core.discovery import plugins

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from deepfake_core.datasets import Dataset
    from deepfake_core.handle.loaded import LoadedDetector

DATA = Path(__file__).parents[1] / "data"
_NAME = re.compile(r"([A-Za-z0-9][\w.-]*)=")


class DatasetRef(Record):
    """A dataset, as the user named it."""

    name: str
    layout: str = Field(description="the dataset plugin that reads it")
    path: str
    options: dict[str, str] = Field({}, description="of the layout, as text")
    note: str = ""

    def open(self) -> Dataset:
        """The dataset itself.

        Raises:
            TrainingDataError: It is not there, or the layout has no such option.
        """
        return open_address(Address(self.layout, self.path, self.options))


class Job(Record):
    """One measurement: a detector on a backend, under one scenario."""

    detector: str
    backend: Literal["auto", "onnxruntime", "openvino", "torch"] = "auto"
    device: str = "auto"
    threads: int | None = None
    scenario: str
    dataset: DatasetRef | None = None
    seconds: float = Field(2.0, gt=0, description="time for each steady-state measurement")
    limit: int | None = Field(None, gt=0, description="most files of each source and class, spread evenly over them")
    recipe: str = Field("default", description="how the detector is trained, for the scenario train_throughput")
    price_per_core_hour: float | None = Field(None, ge=0, description="in any currency; the costs are in the same")
    p99_ms: float | None = Field(None, gt=0, description="bound on the p99 of server's response times, in ms")
    variants: Literal["quick", "full"] = Field("quick", description="how many changes robustness makes to a picture")
    predictions: str = Field("", description="CSV file that takes every score; empty for none")

    def into(self, folder: Path) -> Job:
        """The same measurement, with its scores in another folder."""
        file = str(folder / Path(self.predictions).name) if self.predictions else ""
        return self.model_copy(update={"predictions": file})


PLUMBING = DatasetRef(
    name="plumbing-check",
    layout="image-folder",
    path=str(DATA / "plumbing"),
    note="24 views of one public-domain portrait: shows that the pipeline runs, says nothing about accuracy",
)


def parse_dataset(text: str) -> DatasetRef:
    """Read ``[NAME=][LAYOUT:]PATH[?key=value&…]``; but for the name, see ``deepfake_core.datasets.opening``.

    Without a name, the dataset is called after its folder, or its layout.

    Raises:
        TrainingDataError: There is no such layout, path or option.
    """
    named = _NAME.match(text) if not Path(text).exists() else None
    address = resolved(text[named.end() :] if named else text)
    name = named[1] if named else Path(address.path).resolve().name if address.path else address.name
    reference = DatasetRef(name=name, layout=address.name, path=address.path, options=dict(address.options))
    # What is wrong is said now rather than after an hour of measuring; not every layout needs a path that exists.
    dataset = reference.open()
    if not Path(address.path).exists():
        next(iter(dataset), None)
    return reference


def with_plumbing(datasets: Iterable[str]) -> list[DatasetRef]:
    """What a run judges pictures of: the embedded set, and what the user named (:func:`parse_dataset`)."""
    return [PLUMBING, *map(parse_dataset, datasets)]


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
    price_per_core_hour: float | None = None,
    p99_ms: float | None = None,
    variants: Literal["quick", "full"] = "quick",
    out: Path | None = None,
) -> list[Job]:
    """Every measurement that a run consists of: detector × backend × scenario (× dataset where it needs one).

    Without backends each detector chooses its own; without scenarios, they are those of a run by default on that
    device; without threads, they are as many as the process may use.
    """
    from deepfake_bench.scenarios import SCENARIOS
    from deepfake_core.runtimes.threads import allowed_threads

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
                        price_per_core_hour=price_per_core_hour,
                        p99_ms=p99_ms,
                        variants=variants,
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


def left_out(jobs: Sequence[Job]) -> Iterator[Measurement]:
    """A row for each scenario that a run leaves out though a target is documented for it: boards show every target."""
    for detector, device in dict.fromkeys((job.detector, job.device) for job in jobs):
        planned = {job.scenario for job in jobs if job.detector == detector}
        known = plugins.detectors().get(detector)
        for scenario in dict.fromkeys(target.scenario for target in (known.spec.targets if known else ())):
            if scenario not in planned:
                job = Job(detector=detector, scenario=scenario, device=device)
                yield unmeasured(job, "skipped", f"not part of this run: dfbench run --scenario {scenario}")


def artefact_of(detector: LoadedDetector) -> tuple[str, int | None]:
    """Hex sha256 and size in bytes of the model file that runs; ``("", None)`` when there is none.

    Of several files, as an ensemble has them, the sha256 over theirs, and the sum of their sizes.
    """
    files = [(file.sha256, file.path.stat().st_size) for file in detector.artifacts]
    if not files:
        return "", None
    digests, sizes = zip(*files, strict=True)
    sha256 = digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return sha256, sum(sizes)

"""The benchmark's report: what was measured, where, with what, and how it compares with the documented targets.

``dfbench run --json FILE`` writes it. An undefined number is ``null``; a measurement that did not happen is listed
with its reason.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from deepfake_core.errors import DeepfakeError
from deepfake_registry.files import write_atomic
from deepfake_registry.paths import as_typed, why_missing

SCHEMA_VERSION = 1
ORIGINAL, RECODED = "original", "recoded"
"""Variants: the images as they are, and all of them brought to one size and one encoding."""
SEEN = "seen in training"
"""Mark of figures on groups that the model was trained on, and the name of the condition that says how many."""
OF_VIDEOS = " (videos)"
"""End of the name of a source of videos, where a dataset holds pictures too."""


def _nan_to_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_nan_to_none)]


class Record(BaseModel):
    """Base of the report's parts: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Record):
    """A measure with its 95 % bootstrap interval, drawn by groups (video, sequence or identity)."""

    value: Number = Field(description="the measure; null where it is undefined, such as AUC on one class")
    low: Number = Field(None, description="lower end of the interval; null with fewer than two groups")
    high: Number = Field(None, description="upper end of the interval")


class Curves(Record):
    """Points of the diagrams of one source; absent in reports of versions that wrote none."""

    fpr: list[float] = Field(description="share of reals called fake, rising: the ROC curve, thinned where it is long")
    tpr: list[float] = Field(description="share of fakes found at each of these")
    bin_p_fake: list[float] = Field(description="mean P(fake) of each bin of the reliability diagram")
    bin_share: list[float] = Field(description="share of fakes in each bin")
    bin_mass: list[float] = Field(description="share of all samples in each bin")

    @model_validator(mode="after")
    def _as_long_as_each_other(self) -> Self:
        if len(self.fpr) != len(self.tpr) or len({len(self.bin_p_fake), len(self.bin_share), len(self.bin_mass)}) > 1:
            raise ValueError("the lists of a curve must be equally long")
        return self


class SourceAccuracy(Record):
    """Accuracy on one source of a dataset."""

    source: str
    variant: str = Field("", description="how the pictures were changed; empty when the files are as they are")
    real: int = Field(description="real samples, with or without a score")
    fake: int = Field(description="fake samples, with or without a score")
    groups: int = Field(description="videos, sequences or identities")
    no_face_rate: float = Field(description="share of all samples in which no face was found")
    error_rate: float = Field(description="share of all samples that could not be read")
    unsure_rate: float = Field(description="share of all samples within the abstention band; they are scored")
    seen_groups: int = Field(
        0, description="groups that the model was trained on, as far as its package tells: see the conditions"
    )
    metrics: dict[str, Estimate] = Field(description="measures over the samples that have a score")
    curves: Curves | None = Field(None, description="where accuracy was measured on both classes")

    @property
    def title(self) -> str:
        """Name of the source, with the mark of figures on what the model was trained on."""
        return f"{self.source} ({SEEN})" if self.seen_groups else self.source


class DatasetInfo(Record):
    """Dataset that was measured on."""

    name: str
    layout: str = Field(description="dataset plugin that read it")
    path: str
    samples: int
    sha256: str = Field(description="hash over labels, relative paths and contents")
    note: str = ""
    labels: str = Field("", description="how the dataset's labels were read, with the number of samples of each")


class TargetCheck(Record):
    """One documented target and what was measured."""

    metric: str
    comparison: Literal["<=", ">="]
    target: float
    source: str = Field(description="where the target is documented")
    condition: str = Field(description="what it was stated for; empty when it holds anywhere")
    note: str = Field("", description="what exactly is documented there")
    measured: Number = None
    verdict: Literal["met", "missed", "not judged", "not measurable here"] = Field(
        description="not judged: about time, and other work disturbed the measurement"
    )
    reason: str = Field("", description="why it could not be measured or judged here")

    @property
    def is_decided(self) -> bool:
        """Whether the target was met or missed."""
        return self.verdict in ("met", "missed")


class Measurement(Record):
    """One scenario on one detector and backend, run in a process of its own."""

    detector: str = Field(description="name or path, as it was asked for")
    version: str = ""
    weights: str = Field("", description="trained, pretrained or untrained (random: scores mean nothing)")
    artefact_sha256: str = Field("", description="hash of the model file; empty when there is none")
    backend: str = Field(description="runtime that ran; the one asked for when nothing could run")
    device: str = Field("", description="``cpu``, or the accelerator as ``cuda: NAME``")
    threads: int | None = None
    scenario: str
    dataset: DatasetInfo | None = None
    status: Literal["measured", "skipped", "failed"]
    reason: str = Field("", description="why there are no numbers; empty when measured")
    others_share: Number = Field(
        None,
        description="share of the processors that other work took meanwhile, in [0, 1]: neither this process nor its "
        "descendants; in a container, what its /proc/stat shows; null where the system does not tell",
    )
    conditions: dict[str, str] = Field({}, description="what the numbers include, in words")
    metrics: dict[str, Number] = Field({}, description="units are in the names: _ms, _mb, _per_s")
    samples: dict[str, list[float]] = Field({}, description="raw samples, in the order they were taken")
    sources: list[SourceAccuracy] = []
    targets: list[TargetCheck] = []


class Machine(Record):
    """Machine that the report was made on."""

    cpu: str
    cpu_id: str = Field("", description="vendor, family, model and stepping, where the system tells")
    cores: int = Field(description="logical CPUs of the machine")
    allowance: int = Field(description="threads this process may use (affinity, container quota)")
    memory_mb: int | None
    system: str
    python: str
    libraries: dict[str, str]

    @property
    def processor(self) -> str:
        """Name of the processor, with what tells it apart from others of that name."""
        return f"{self.cpu} ({self.cpu_id})" if self.cpu_id else self.cpu


class Report(Record):
    """All measurements of one ``dfbench run``."""

    schema_version: Literal[1] = 1
    project_version: str
    created: str = Field(description="UTC, ISO 8601")
    turns: str = Field("", description="identifier shared by two reports that were measured in turns; else empty")
    machine: Machine
    measurements: list[Measurement]

    def write(self, path: str | Path) -> None:
        """Write the report as JSON, whole or not at all."""
        write_atomic(path, self.model_dump_json(indent=2) + "\n")


def parse_report(data: bytes, source: str | Path) -> Report:
    """Parse a report that ``dfbench run --json`` wrote.

    Args:
        data: Content of the file.
        source: Name of the file, for messages.

    Raises:
        DeepfakeError: The data are not a report, or one of a newer version; the message names ``source``, the field
            and the remedy.
    """
    try:
        return Report.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if where == "schema_version":
            raise DeepfakeError(
                f"{source}: a report of another schema version than {SCHEMA_VERSION}; upgrade deepfake-core"
            ) from error
        if first["type"] == "extra_forbidden":
            raise DeepfakeError(
                f"{source}: unknown field {where}; upgrade deepfake-core if a newer one wrote this report"
            ) from error
        raise DeepfakeError(
            f"{source}: not a benchmark report ({where + ': ' if where else ''}{first['msg']}); write one: "
            "dfbench run --json FILE"
        ) from error


def read_report(path: Path) -> bytes:
    """Return the bytes of a report's file.

    Raises:
        DeepfakeError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DeepfakeError(f"{as_typed(path)}: {_why_no_report(path, error)}") from error


def _why_no_report(path: Path, error: OSError) -> str:
    """Say what a path is that is no file with a report, and what to do."""
    from deepfake_core.discovery.plugins import detectors

    if path.is_dir():
        inside = path / "report.json"
        name = f"the report in it: {inside}" if inside.is_file() else "a file that dfbench run --json FILE wrote"
        return f"is a folder; name {name}"
    if str(path) in detectors() and not path.exists():
        return f"is the name of a detector, not a report; measure it: dfbench run --detector {path} --json {path}.json"
    if isinstance(error, FileNotFoundError):
        return why_missing(path)
    return f"cannot be read ({error.strerror}); name a file that dfbench run --json FILE wrote"


def schema() -> dict[str, Any]:
    """Return the JSON schema of the report, for other programs; older reports conform to it too."""
    return Report.model_json_schema(mode="validation")

"""The job that the launcher gives to a worker process, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from deepfake_bench.records.dataset import DatasetRef
from deepfake_bench.records.report import Record


class Job(Record):
    """One measurement to make: a detector on a backend, under one scenario."""

    detector: str
    backend: Literal["auto", "fastest", "onnxruntime", "openvino", "torch"] = "auto"
    device: str = "auto"
    threads: int | None = None
    scenario: str
    dataset: DatasetRef | None = None
    seconds: float = Field(2.0, gt=0, description="time for each steady-state measurement, in s")
    limit: int | None = Field(None, gt=0, description="most files of each source and class, spread evenly over them")
    recipe: str = Field("default", description="recipe of the scenario train_throughput")
    parts: tuple[str, ...] = Field((), description="parts of train_throughput to measure; all where it is empty")
    batch_size: int | None = Field(None, ge=2, description="batch of train_throughput; by default that of the recipe")
    steps: int | None = Field(
        None, gt=0, description="steps that train_throughput times; by default those that fit into seconds"
    )
    data: str = Field("", description="faces that train_throughput reads, [LAYOUT:]PATH; empty for the sample faces")
    cache: str = Field("", description="folder that keeps prepared faces; empty for one that is removed again")
    price_per_core_hour: float | None = Field(
        None, ge=0, description="experimental: price that the costs of offline are in"
    )
    p99_ms: float | None = Field(None, gt=0, description="experimental: bound on the p99 of server, in ms")
    variants: Literal["quick", "full"] = Field("quick", description="list of changes that robustness makes")
    predictions: str = Field("", description="CSV file that every score is written to; empty for none")

    def into(self, folder: Path) -> Job:
        """Return the same measurement, with its scores in another folder."""
        file = str(folder / Path(self.predictions).name) if self.predictions else ""
        return self.model_copy(update={"predictions": file})

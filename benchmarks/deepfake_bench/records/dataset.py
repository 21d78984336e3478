"""Datasets that a run measures on, as the user names them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from deepfake_bench.records.report import Record
from deepfake_core.datasets import Dataset
from deepfake_core.datasets.address import Address
from deepfake_core.datasets.opening import open_address, resolved

DATA = Path(__file__).parents[1] / "data"
"""Folder of the embedded images."""
_NAME = re.compile(r"([A-Za-z0-9][\w.-]*)=")


class DatasetRef(Record):
    """Dataset as the user named it."""

    name: str
    layout: str = Field(description="dataset plugin that reads it")
    path: str
    options: dict[str, str] = Field({}, description="options of the layout, as text")
    note: str = ""

    def open(self) -> Dataset:
        """Open the dataset.

        Raises:
            TrainingDataError: The dataset is not there, or the layout has no such option.
        """
        return open_address(Address(self.layout, self.path, self.options))


PLUMBING = DatasetRef(
    name="plumbing-check",
    layout="image-folder",
    path=str(DATA / "plumbing"),
    note="24 views of one public-domain portrait: shows that the pipeline runs, says nothing about accuracy",
)


def parse_dataset(text: str) -> DatasetRef:
    """Parse ``[NAME=][LAYOUT:]PATH[?key=value&…]``; all but the name is parsed by ``deepfake_core.datasets.opening``.

    Without a name, the dataset is called after its folder, or its layout.

    Raises:
        TrainingDataError: There is no such layout, path or option.
    """
    named = _NAME.match(text) if not Path(text).exists() else None
    address = resolved(text[named.end() :] if named else text)
    name = named[1] if named else Path(address.path).resolve().name if address.path else address.name
    reference = DatasetRef(name=name, layout=address.name, path=address.path, options=dict(address.options))
    # A mistake is reported now rather than after an hour of measuring; not every layout needs a path that exists.
    dataset = reference.open()
    if not Path(address.path).exists():
        next(iter(dataset), None)
    return reference


def with_plumbing(datasets: Iterable[str]) -> list[DatasetRef]:
    """Return the datasets of a run: those that the user named (see :func:`parse_dataset`), and the embedded set."""
    return [*map(parse_dataset, datasets), PLUMBING]

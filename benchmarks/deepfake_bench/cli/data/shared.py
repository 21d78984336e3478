"""Arguments and files that the commands of ``dfbench data`` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deepfake_core.data.fact_cache import FactCache
    from deepfake_core.datasets import Dataset

Data = Annotated[
    str,
    typer.Argument(
        metavar="[LAYOUT:]PATH",
        help="Dataset: its layout, see dfbench list, and its path; or the path alone.",
        show_default=False,
    ),
]
StateFile = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="File for what was found out about each file, so that an interrupted command can continue.",
    ),
]
MaxImages = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Largest number of files that are read, evenly spread over the dataset."),
]


def opened(spec: str) -> Dataset:
    """Open the dataset that the user named.

    Raises:
        TrainingDataError: There is no such dataset or layout.
    """
    from deepfake_core.datasets.opening import open_dataset

    return open_dataset(spec)


@contextmanager
def fact_cache(path: Path | None) -> Iterator[FactCache | None]:
    """Open the file of ``--state``; ``None`` where the option was not given."""
    if path is None:
        yield None
        return
    from deepfake_core.data.fact_cache import FactCache

    with FactCache(path) as cache:
        yield cache

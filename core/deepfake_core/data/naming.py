"""Names of samples in files that are read on other machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepfake_core.datasets import Dataset, Sample


def relative_name(sample: Sample, root: Path) -> str:
    """Return the sample's path relative to ``root``, with ``/``, and with ``!member`` where it lies in an archive.

    A file outside of ``root`` keeps its whole path.

    Args:
        sample: Sample of a dataset.
        root: Folder of the dataset (:func:`folder_of`).
    """
    try:
        name = sample.path.relative_to(root).as_posix()
    except ValueError:
        name = sample.path.as_posix()
    if sample.member:
        return f"{name}!{sample.member}"
    return name if sample.span is None else f"{name}!{sample.span[0]}"


def folder_of(dataset: Dataset) -> Path:
    """Return the folder that a dataset's names start from: its root, or the folder of its root if that is a file."""
    return dataset.root.parent if dataset.root.is_file() else dataset.root

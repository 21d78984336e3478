"""Datasets: layouts on disk, read as labelled samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled file.

    Attributes:
        path: A picture or a video.
        fake: 1 for fake, 0 for real, whatever the dataset's own numbers are.
        source: Where it comes from; accuracy is reported per source.
        group: What must not be divided between splits: a video, a sequence of frames, an identity.
    """

    path: Path
    fake: int
    source: str
    group: str


class Dataset(ABC):
    """One layout on disk. Iterating yields every sample, in an order that depends on file names alone.

    Args:
        root: The dataset's folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """Yield every sample.

        Raises:
            TrainingDataError: The folder is missing, or its labels are missing or ambiguous.
        """

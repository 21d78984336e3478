"""Datasets: layouts on disk, read as labelled samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture or video.

    Attributes:
        path: The file; or the archive or table that holds it.
        is_fake: True for fake, False for real, whatever the dataset's own numbers are.
        source: Where it comes from; accuracy is reported per source.
        group: What must not be divided between splits: a video, a sequence of frames, a person.
        split: ``"train"``, ``"valid"`` or ``"test"`` where the dataset itself says so.
        identities: The persons shown, where the dataset names them; a face swap has two. Samples that share one
            stay on one side of a split.
        span: Offset and length in bytes of the sample's file within ``path``, an uncompressed archive.
        member: Name or row within ``path``, when that is an archive or a table.
        frame: Place in the group's sequence, where the group is the frames of one video; their order on disk or in an
            archive may be another one. -1 where there is none.
    """

    path: Path
    is_fake: bool
    source: str
    group: str
    split: str = ""
    identities: tuple[str, ...] = ()
    span: tuple[int, int] | None = None
    member: str = ""
    frame: int = -1

    @property
    def name(self) -> str:
        """For messages: the path, with the member where there is one."""
        return f"{self.path}!{self.member}" if self.member else str(self.path)


class Dataset(ABC):
    """One layout on disk. Iterating yields every sample, in an order that depends on file names alone.

    It holds no open files, so that it can be sent to other processes.

    Args:
        root: The dataset's folder, or its one file. Keyword arguments that a subclass adds can be given on the command
            line (:func:`~deepfake_core.datasets.opening.open_dataset`).
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """Yield every sample.

        Raises:
            TrainingDataError: The folder is missing, or its labels are missing or ambiguous.
        """

    @classmethod
    def recognises(cls, root: Path) -> bool:  # noqa: ARG003 - for overriding
        """Whether what stands at ``root`` is surely this layout, so that its name need not be given.

        It looks at a few names and never lists everything.
        """
        return False

    def stream(self) -> Iterator[tuple[Sample, Path | bytes]]:
        """Every sample with what :meth:`read` gives for it, in the cheapest order to read.

        Layouts on compressed archives or tables override it: there one pass costs little, and :meth:`read` much.

        Raises:
            TrainingDataError: As by iterating, or an archive is damaged.
            OSError: An archive cannot be read.
        """
        return ((sample, self.read(sample)) for sample in self)

    def read(self, sample: Sample) -> Path | bytes:
        """What :func:`~deepfake_core.inputs.decode.decode` takes: the path of the sample's file, or its bytes.

        Raises:
            OSError: The archive cannot be read.
        """
        if sample.span is None:
            return sample.path
        offset, length = sample.span
        with sample.path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

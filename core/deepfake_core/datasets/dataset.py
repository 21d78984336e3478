"""The two classes that a dataset plugin imports: :class:`Dataset`, and the :class:`Sample` that it yields."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deepfake_core.datasets.address import Address


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image or video.

    Attributes:
        path: File of the sample, or the archive or table that holds it.
        is_fake: Ground truth: true for fake, false for real, whatever numbers the dataset itself uses.
        source: Name of the collection that the sample comes from. Accuracy is reported per source.
        group: Name of the unit that splits must not divide: a video, a sequence of frames or a person.
        split: ``"train"``, ``"valid"`` or ``"test"`` where the dataset defines splits; otherwise empty.
        identities: Names of the persons shown, where the dataset tells them; a face swap has two. Samples that share an
            identity stay in one split.
        span: Offset and length in bytes of the sample's file within ``path``, if that is an uncompressed archive.
        member: Name or row of the sample within ``path``, if that is an archive or a table.
        frame: Index of the sample in its video, if the group is the frames of one video; otherwise -1. Files and
            archives may hold the frames in another order.
        label: The dataset's own label, as text: a word or number of a table, or the name of a folder. Commands show how
            each of them was read; empty where the dataset does not tell it.
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
    label: str = ""

    @property
    def name(self) -> str:
        """Name of the sample for messages: its path, and its member where there is one."""
        return f"{self.path}!{self.member}" if self.member else str(self.path)


class Dataset(ABC):
    """A dataset in one layout on disk. Iterating over it yields every sample.

    A layout needs :meth:`__iter__` alone; the other methods have defaults. The order of the samples must depend on file
    names only, so that it is the same on every machine. A dataset is sent to worker processes by pickling, so it holds
    no open files.

    Args:
        root: Folder of the dataset, or its only file. A subclass may take further keyword arguments; users give them
            after the path, as in ``NAME:PATH?key=value``
            (see :func:`~deepfake_core.datasets.opening.open_dataset`).

    Attributes:
        root: The folder or file that was given.
        address: Address by which a user opened the dataset; ``None`` if it was opened by its class.
    """

    address: Address | None = None

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """Yield every sample.

        Raises:
            TrainingDataError: The folder is missing, or its labels are missing or ambiguous.
        """

    def of_split(self, split: str) -> Iterator[Sample]:
        """Yield the samples that the dataset itself assigns to a split.

        Args:
            split: ``"train"``, ``"valid"`` or ``"test"``, or ``""`` for the samples without a split.
        """
        return (sample for sample in self if sample.split == split)

    def counts(self) -> Counter[tuple[str, bool]]:
        """Return the number of samples of each of the dataset's own splits and each class: ``(split, is_fake)``.

        Raises:
            TrainingDataError: The folder is missing, or its labels are missing or ambiguous.
        """
        return Counter((sample.split, bool(sample.is_fake)) for sample in self)

    @classmethod
    def recognises(cls, root: Path) -> bool:  # noqa: ARG003 - for overriding
        """Return whether ``root`` certainly has this layout, so that users need not name the layout.

        An implementation looks at a few names and does not list the whole dataset. By default no folder is recognised.
        """
        return False

    def default_max_images(self) -> int | None:
        """Return how many images or videos ``dfbench data prepare`` takes if the user names no number.

        By default there is no limit (``None``). A dataset that is too large to be prepared in whole overrides this.
        """
        return None

    def advised(self, **options: str) -> str:
        """Return the address of this dataset with other options, in quotes, as the remedy that a message names."""
        return f'"{(self.address or Address("", str(self.root))).changed(**options)}"'

    def state(self, sample: Sample) -> object:
        """Return a value that changes if the file of a sample is changed or replaced; its ``repr`` is kept in caches.

        By default it is :func:`~deepfake_core.datasets.files.file_state` of the sample's path. What cannot be told, as
        of files on another machine, is ``None``, and counts as unchanged.
        """
        from deepfake_core.datasets.files import file_state

        return file_state(sample.path)

    def described(self) -> str:
        """Return the class, the place and the options of this dataset as text: the same for the same samples."""
        options = {}
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, None)
            value = value.described() if isinstance(value, Dataset) else value
            names = isinstance(value, tuple | list) and all(isinstance(part, str) for part in value)
            if (
                (names or isinstance(value, str | int | float | Path | dict))
                and name != "root"
                and value != parameter.default
            ):
                options[name] = str(value.resolve() if isinstance(value, Path) else value)
        return f"{type(self).__name__} {self.root.resolve()}{f' {options}' if options else ''}"

    def stream(self) -> Iterator[tuple[Sample, Path | bytes]]:
        """Yield every sample with the result of :meth:`read`, in the order that is cheapest to read.

        Layouts on compressed archives or tables override this: one pass over all samples costs them little, whereas
        each call of :meth:`read` costs much.

        Raises:
            TrainingDataError: Labels are missing or ambiguous, or an archive is damaged.
            OSError: An archive cannot be read.
        """
        return ((sample, self.read(sample)) for sample in self)

    def read(self, sample: Sample) -> Path | bytes:
        """Return the file of a sample as a path or as encoded bytes.

        Both are inputs of :func:`~deepfake_core.inputs.decode.decode`.

        Raises:
            OSError: The archive that holds the sample cannot be read.
        """
        if sample.span is None:
            return sample.path
        offset, length = sample.span
        with sample.path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

"""Parquet files that contain images and their labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.cells import class_name, persons, picture, text
from deepfake_core.datasets.files import files_below
from deepfake_core.datasets.labels import LABELS, LabelReader, label_column, split_of
from deepfake_core.errors import MissingExtra, TrainingDataError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_BATCH = 64


class Parquet(Dataset):
    """Parquet files with a column of encoded images and a column of labels.

    An image is bytes, or a struct with a field ``bytes`` as Hugging Face writes it. Class names that Hugging Face
    stored in the file are used. The optional columns ``source``, ``group``, ``split`` and ``identity`` are used as they
    are; without them the source is the name of the root and each row is a group of its own. Row groups are read when
    they are needed: one pass by :meth:`stream` is cheap, whereas each call of :meth:`read` reads a whole row group.

    Args:
        root: Parquet file, or a folder of such files.
        image: Name of the column of images.
        label: Name of the column of labels; by default ``label``, or one of
            :data:`~deepfake_core.datasets.labels.TRUTH_COLUMNS`, whose name says what a 1 in it means.
        labels: Map from a label or a class name to 1 for fake or 0 for real; by default it contains only ``real`` and
            ``fake``.
    """

    def __init__(
        self, root: str | Path, image: str = "image", label: str | None = None, labels: Mapping[str, int] = LABELS
    ) -> None:
        super().__init__(root)
        self.image = image
        self.label = label
        self.labels = dict(labels)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return root.suffix.lower() == ".parquet" or (root.is_dir() and any(root.glob("*.parquet")))

    def __iter__(self) -> Iterator[Sample]:
        return (sample for sample, _ in self._rows(with_bytes=False))

    def stream(self) -> Iterator[tuple[Sample, Path | bytes]]:
        return self._rows(with_bytes=True)

    def read(self, sample: Sample) -> Path | bytes:
        row = int(sample.member)
        with _opened(sample.path) as file:
            for number in range(file.metadata.num_row_groups):
                count = file.metadata.row_group(number).num_rows
                if row < count:
                    cells = file.read_row_group(number, columns=[self.image]).column(self.image)
                    return picture(cells[row].as_py(), f"{sample.path}: row {sample.member}", self.advised)
                row -= count
        raise TrainingDataError(f"{sample.path}: has no row {sample.member}; it has changed since it was listed")

    def _rows(self, *, with_bytes: bool) -> Iterator[tuple[Sample, Path | bytes]]:
        if not self.root.is_dir():
            files = [self.root]
        else:
            files = [path for path in files_below(self.root) if path.suffix.lower() == ".parquet"]
        if not files:
            raise TrainingDataError(f"{self.root}: no .parquet files; name one, or a folder of them")
        for path in files:
            with _opened(path) as file:
                yield from self._file(path, file, with_bytes=with_bytes)

    def _file(self, path: Path, file: ParquetFile, *, with_bytes: bool) -> Iterator[tuple[Sample, Path | bytes]]:
        there = file.schema_arrow.names
        label = self.label if self.label is not None else label_column(there, str(path), self.advised)
        missing = [name for name in (self.image, label) if name not in there]
        if missing:
            raise TrainingDataError(
                f"{path}: no column {missing[0]!r}; its columns are {', '.join(there)}: choose by image=NAME, "
                f"label=NAME: {self.advised(image='NAME', label='NAME')}"
            )
        columns = [label, *({"source", "group", "split", "identity"} & set(there) - {label, self.image})]
        names = _class_names(file.schema_arrow.metadata, label)
        read = LabelReader(self.labels, self.advised, label)
        root = self.root.resolve().name.partition(".")[0]
        # The folder is part of the group's name, because files in two folders may have one name.
        inner = path.relative_to(self.root if self.root.is_dir() else self.root.parent).with_suffix("").as_posix()
        pictures = [self.image] if with_bytes else []
        # Batches without images are small, however large the images are.
        batches = file.iter_batches(batch_size=_BATCH if with_bytes else 65536, columns=columns + pictures)
        row = 0
        for batch in batches:
            for cells in batch.to_pylist():
                where = f"{path}: row {row}"
                is_fake, word = read(class_name(cells[label], names, where), where)
                source = text(cells.get("source"), root)
                group = text(cells.get("group"), f"{source}/{inner}/{row}")
                split = split_of(text(cells.get("split")), where)
                content = picture(cells[self.image], where, self.advised) if with_bytes else b""
                named = persons(cells.get("identity"))
                yield Sample(path, is_fake, source, group, split, named, None, str(row), label=word), content
                row += 1


def _class_names(metadata: Mapping[bytes, bytes] | None, label: str) -> list[str]:
    """Return the names of the classes that Hugging Face stored in the file, or an empty list."""
    try:
        note = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        feature = note["info"]["features"][label]
    except (ValueError, KeyError, TypeError):
        return []
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []


@contextmanager
def _opened(path: Path) -> Iterator[ParquetFile]:
    """Open a Parquet file. An error while it is read names the file."""
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtra("reading Parquet files", "deepfake-core[data]") from error
    try:
        with ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        raise TrainingDataError(f"{path}: cannot be read as Parquet ({error}); get it again") from error

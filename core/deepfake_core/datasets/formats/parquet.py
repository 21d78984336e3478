"""Parquet files that hold pictures and their labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.cells import class_name, persons, picture, text
from deepfake_core.datasets.files import files_below
from deepfake_core.datasets.labels import LABELS, meaning_of, split_of
from deepfake_core.errors import MissingExtra, TrainingDataError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_BATCH = 64


class Parquet(Dataset):
    """Parquet files with a column of encoded pictures and a column of labels.

    A picture is bytes, or a struct with a field ``bytes`` as Hugging Face writes it; class names that Hugging Face
    keeps in the file are used. The optional columns ``source``, ``group``, ``split`` and ``identity`` are taken
    as they are; without them the source is the root's name and each row is a group of its own. Row groups are read as
    they are needed: one pass by :meth:`stream` costs little, while :meth:`read` reads the row's group.

    Args:
        root: One file, or a folder of them.
        image: Name of the column of pictures.
        label: Name of the column of labels.
        labels: Label, or class name → 1 for fake, 0 for real; by default only ``real`` and ``fake`` are known.
    """

    def __init__(
        self, root: str | Path, image: str = "image", label: str = "label", labels: Mapping[str, int] = LABELS
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
                    return picture(cells[row].as_py(), f"{sample.path}: row {sample.member}")
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
        missing = [name for name in (self.image, self.label) if name not in there]
        if missing:
            raise TrainingDataError(
                f"{path}: no column {missing[0]!r}; its columns are {', '.join(there)}: choose by image=NAME, "
                "label=NAME"
            )
        columns = [self.label, *({"source", "group", "split", "identity"} & set(there) - {self.label, self.image})]
        names = _class_names(file.schema_arrow.metadata, self.label)
        root = self.root.resolve().name.partition(".")[0]
        # Files of one name in several folders are several files.
        inner = path.relative_to(self.root if self.root.is_dir() else self.root.parent).with_suffix("").as_posix()
        pictures = [self.image] if with_bytes else []
        # Batches without pictures are small, however large the pictures are.
        batches = file.iter_batches(batch_size=_BATCH if with_bytes else 65536, columns=columns + pictures)
        row = 0
        for batch in batches:
            for cells in batch.to_pylist():
                where = f"{path}: row {row}"
                is_fake = meaning_of(class_name(cells[self.label], names, where), self.labels, where)
                source = text(cells.get("source"), root)
                group = text(cells.get("group"), f"{source}/{inner}/{row}")
                split = split_of(text(cells.get("split")), where)
                content = picture(cells[self.image], where) if with_bytes else b""
                yield (
                    Sample(path, is_fake, source, group, split, persons(cells.get("identity")), None, str(row)),
                    content,
                )
                row += 1


def _class_names(metadata: Mapping[bytes, bytes] | None, label: str) -> list[str]:
    """Names of the classes, where Hugging Face's note in the file has them."""
    try:
        note = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        feature = note["info"]["features"][label]
    except (ValueError, KeyError, TypeError):
        return []
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []


@contextmanager
def _opened(path: Path) -> Iterator[ParquetFile]:
    """The file; what goes wrong while it is read names it."""
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

"""CSV files that name images or videos and their labels."""

from __future__ import annotations

import logging
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np

from deepfake_core.datasets import Dataset, Sample
from deepfake_core.datasets.address import Address
from deepfake_core.datasets.cells import persons
from deepfake_core.datasets.files import exists, inside
from deepfake_core.datasets.labels import LABELS, SPLITS, TRUTH_COLUMNS, LabelReader, label_column, some, split_of
from deepfake_core.datasets.tables import header, rows
from deepfake_core.errors import TrainingDataError

log = logging.getLogger("deepfake.datasets")

KAGGLE_LABELS: Mapping[str, int] = MappingProxyType({"1": 0, "0": 1, **LABELS})
"""Map from a label in the tables of Kaggle's "140k real and fake faces" to 1 for fake or 0 for real."""

KAGGLE_WORDS = "label_str"
"""Column in which these tables say ``real`` and ``fake``."""

_LOOKED_AT = 100


class CsvTable(Dataset):
    """A CSV file with the columns ``path`` and ``label``, or a folder with ``train.csv``, ``valid.csv``, ``test.csv``.

    Labels are the words ``real`` and ``fake``. Without a column ``label``, one that is called ``is_fake``, ``fake``,
    ``is_real`` or ``real`` says by its name what a 1 in it means. Any other label needs a label map. There is one
    exception: in a folder with all three tables, as Kaggle's "140k real and fake faces" has them, 1 means real and 0
    fake. That is logged as a warning, and a path that contradicts it by a folder ``real`` or ``fake`` is an error.

    The optional columns ``source``, ``group``, ``split`` and ``identity`` (several identities are separated by ``;``)
    are used as they are; other columns are ignored. Without these columns the source is the name of the root, each
    image is a group of its own, and in a folder the name of the CSV file is the split. The case of the names of columns
    does not matter. All rows are checked before the first sample is yielded.

    A row that repeats an earlier one is skipped with a warning that counts such rows. A row that contradicts an earlier
    one, in its label or its split, is an error.

    Args:
        table: CSV file, or a folder of CSV files.
        root: Folder that relative paths start from; by default the folder of the table.
        labels: Map from a label to 1 for fake or 0 for real.
        limit: Maximum number of rows per file. They are spread evenly over each class, in proportion to its size.
        path: Name of the column of paths.
        label: Name of the column of labels.
    """

    def __init__(
        self,
        table: str | Path,
        root: str | Path | None = None,
        labels: Mapping[str, int] = LABELS,
        limit: int | None = None,
        path: str = "path",
        label: str | None = None,
    ) -> None:
        self.table = Path(table)
        super().__init__(root if root is not None else self.table if self.table.is_dir() else self.table.parent)
        self.address = Address("csv", str(table), {} if root is None else {"root": str(root)})
        if limit is not None and limit < 1:
            raise TrainingDataError(f"{table}: limit must be at least 1, got {limit}")
        self.labels = dict(labels)
        self.limit = limit
        self.path = path
        self.label = label
        self._warned = False
        # What the check of unchanged files found: the table is read once more for it, and not at every pass.
        self._checked: tuple[list[tuple[int, int]], set[tuple[int, int]]] | None = None

    @classmethod
    def recognises(cls, root: Path) -> bool:
        columns = {name.lower() for name in header(root)} if root.suffix.lower() in (".csv", ".tsv") else set()
        return "path" in columns and ("label" in columns or len(columns & TRUTH_COLUMNS.keys()) == 1)

    def __iter__(self) -> Iterator[Sample]:
        files = self._files()
        dropped = self._dropped(files)
        for number, (file, split) in enumerate(files):
            kept = (sample for line, sample in self._samples(file, split) if (number, line) not in dropped)
            if self.limit is None:
                yield from kept
            else:
                counts = Counter(
                    sample.is_fake for line, sample in self._samples(file, split) if (number, line) not in dropped
                )
                yield from _spread(kept, counts, self.limit)

    def _files(self) -> list[tuple[Path, str]]:
        if not self.table.is_dir():
            return [(self.table, "")]
        names = [(path, SPLITS.get(path.stem.lower(), "")) for path in sorted(self.table.glob("*.csv"))]
        files = [(path, split) for path, split in names if split]
        if not files:
            raise TrainingDataError(f"{self.table}: no train.csv, valid.csv or test.csv; name a CSV file")
        repeated = [split for split, count in Counter(split for _, split in files).items() if count > 1]
        if repeated:
            raise TrainingDataError(f"{self.table}: two files for the split {repeated[0]!r}; keep one")
        return files

    def _samples(self, file: Path, split: str) -> Iterator[tuple[int, Sample]]:
        name = self.root.resolve().name
        label, read = self._reader(file)
        convention = read.labels == KAGGLE_LABELS
        path_column = self.path.lower()
        relative = f"write paths that start from one folder, and name it: {self.advised(root='FOLDER')}"
        columns = f"name the columns: {self.advised(path='NAME', label='NAME')}"
        for line, cells in rows(file, (path_column, label), any_case=True, remedy=columns):
            where = f"{file}: row {line}"
            path = inside(self.root, cells[path_column], where, absolute=True, remedy=relative)
            is_fake, text = read(cells[label], where)
            if convention and text in ("0", "1"):
                self._check_convention(path, is_fake, where)
            source = cells.get("source") or name
            yield (
                line,
                Sample(
                    path,
                    is_fake,
                    source,
                    cells.get("group") or f"{source}/{Path(cells[path_column]).with_suffix('').as_posix()}",
                    split_of(cells.get("split", ""), where) or split,
                    persons(cells.get("identity")),
                    label=text,
                ),
            )

    def _reader(self, file: Path) -> tuple[str, LabelReader]:
        """Return the name of the column of labels, in lower case, and what reads it."""
        there = [name.lower() for name in header(file)]
        if self.label is not None:
            label = self.label.lower()
        elif self.labels == LABELS and {"label", KAGGLE_WORDS} <= set(there):
            label = KAGGLE_WORDS
        else:
            label = label_column(there, str(file), self.advised)
        labels = KAGGLE_LABELS if label == "label" and self._is_kaggle() else self.labels
        return label, LabelReader(labels, self.advised, label)

    def _is_kaggle(self) -> bool:
        return self.labels == LABELS and self.table.is_dir() and len(self._files()) == len({*SPLITS.values()} - {""})

    def _check_convention(self, path: Path, is_fake: bool, where: str) -> None:
        """Refuse a label 0 or 1 that a folder of the path contradicts, and say once that 1 is read as real."""
        remedy = f"where 1 means fake, write {self.advised(labels='1:fake,0:real')}"
        inner = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        folders = {part.lower() for part in inner.parent.parts} & {"real", "fake"}
        if folders == {"real" if is_fake else "fake"}:
            raise TrainingDataError(
                f"{where}: label {int(not is_fake)} is read as {'fake' if is_fake else 'real'}, as in Kaggle's tables "
                f"train.csv, valid.csv and test.csv, but {path} lies in a folder {folders.pop()!r}; {remedy}"
            )
        if not self._warned:
            self._warned = True
            log.warning("%s: labels 1 and 0 are read as real and fake, as in Kaggle's tables; %s", self.table, remedy)

    def _dropped(self, files: list[tuple[Path, str]]) -> set[tuple[int, int]]:
        """Return the result of :meth:`_check`, which is not repeated while the files are the same."""
        status = [(found.st_size, found.st_mtime_ns) for found in (file.stat() for file, _ in files if exists(file))]
        if self._checked is None or self._checked[0] != status:
            self._checked = status, self._check(files)
        return self._checked[1]

    def _check(self, files: list[tuple[Path, str]]) -> set[tuple[int, int]]:
        """Read all files once, and return ``(number of the file, line)`` of the rows that repeat an earlier row."""
        # One hash per row is kept, because a dictionary of all paths would need far more memory.
        hashes = array("q")
        for file, split in files:
            before = len(hashes)
            hashes.extend(hash(sample.path) for _, sample in self._samples(file, split))
            if len(hashes) == before:
                raise TrainingDataError(f"{file}: has no rows; add some, or remove it")
            first = [sample.path for _, sample in islice(self._samples(file, split), _LOOKED_AT)]
            if not any(map(exists, first)):
                remedy = f"say what the paths start from: {self.advised(root='FOLDER')}"
                if not any(path.is_relative_to(self.root) for path in first):
                    remedy = f"make its absolute paths relative to a folder, and name it: {self.advised(root='FOLDER')}"
                raise TrainingDataError(
                    f"{file}: none of the first {len(first)} files exists, such as {first[0]}; {remedy}"
                )
        ordered = np.sort(np.frombuffer(hashes, np.int64))
        suspect = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        return self._repeated(files, suspect) if suspect else set()

    def _repeated(self, files: list[tuple[Path, str]], suspect: set[int]) -> set[tuple[int, int]]:
        first: dict[Path, tuple[str, Sample]] = {}
        repeated: set[tuple[int, int]] = set()
        names: list[str] = []
        for number, (file, split) in enumerate(files):
            for line, sample in self._samples(file, split):
                if hash(sample.path) not in suspect:
                    continue
                where, earlier = first.setdefault(sample.path, (f"{file} row {line}", sample))
                if earlier is sample:
                    continue
                if (earlier.is_fake, earlier.split) != (sample.is_fake, sample.split):
                    kind = "label" if earlier.is_fake != sample.is_fake else "split"
                    raise TrainingDataError(
                        f"{file}: row {line} gives {sample.path} another {kind} than {where}; keep one"
                    )
                repeated.add((number, line))
                names.append(f"{file.name} row {line}")
        if repeated:
            log.warning("%s: %d rows repeat an earlier one and are left out: %s", self.table, len(names), some(names))
        return repeated


def _spread(samples: Iterator[Sample], counts: Mapping[bool, int], limit: int) -> Iterator[Sample]:
    """Yield at most ``limit`` samples, spread evenly over each class, with the classes in their proportions."""
    total = sum(counts.values())
    if limit >= total:
        yield from samples
        return
    fakes = round(limit * counts[True] / total)
    if limit > 1 and len(counts) > 1:
        fakes = min(max(fakes, 1), limit - 1)
    wanted = {True: fakes, False: limit - fakes}
    met = Counter[bool]()
    for sample in samples:
        is_fake = sample.is_fake
        # As in Bresenham's line algorithm, exactly `wanted` of the `counts` samples of a class pass.
        if met[is_fake] * wanted[is_fake] % counts[is_fake] < wanted[is_fake]:
            yield sample
        met[is_fake] += 1

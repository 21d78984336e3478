"""Manifest of a dataset: a table with the sha256 of every file, which is written and verified here."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from deepfake_core.data.check import LABELS
from deepfake_core.data.fact_cache import FactCache, locked_cache
from deepfake_core.data.inspect import Want, inspect_all
from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.datasets.files import inside
from deepfake_core.datasets.tables import rows as csv_rows
from deepfake_core.errors import TrainingDataError
from deepfake_registry.files import atomic_path

if TYPE_CHECKING:
    from deepfake_core.datasets import Dataset


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a dataset, as its row in the manifest states it.

    Attributes:
        path: Path relative to the dataset's folder, with ``!member`` in an archive; escaped where it is not UTF-8.
        sha256: Hex digest of the bytes.
        bytes: Number of bytes, as decimal text.
        label: ``real`` or ``fake``.
        source: Source of the sample.
        group: Group of the sample.
        split: Split of the sample; ``""`` where the dataset has none.
    """

    path: str
    sha256: str
    bytes: str
    label: str
    source: str
    group: str
    split: str


COLUMNS = tuple(field.name for field in fields(Entry))
"""Columns of the CSV file, in order."""

_CELLS: Callable[[Entry], tuple[str, ...]] = attrgetter(*COLUMNS)


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences between a dataset and its manifest; true if there are any.

    Attributes:
        changed: Files whose bytes differ.
        missing: Files of the manifest that the dataset lacks.
        added: Files of the dataset that the manifest lacks.
        relabelled: Files whose label, source, group or split differs.
    """

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    relabelled: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added or self.relabelled)


def entries(
    dataset: Dataset,
    *,
    cache: FactCache | None = None,
    threads: int | None = None,
    labels: Counter[tuple[str, bool]] | None = None,
) -> Iterator[Entry]:
    """Read every file and yield its entry, in the dataset's order.

    Args:
        dataset: Dataset to read.
        cache: Cache of facts: unchanged files are not read again, and new facts are added.
        threads: Number of threads; by default as many as the process may use.
        labels: Receives the number of samples of each label and meaning, as
            :func:`~deepfake_core.datasets.labels.counted` gives it.

    Raises:
        TrainingDataError: A file cannot be read.
    """
    root = folder_of(dataset)
    want = Want(content=False)
    for sample, facts in inspect_all(dataset, want, cache=cache, threads=threads, description="hashing"):
        assert facts is not None, "without max_images all files are inspected"
        if labels is not None:
            labels[sample.label, sample.is_fake] += 1
        if not facts.sha256:
            raise TrainingDataError(f"{sample.name}: {facts.error}; restore the file, or take it out of the dataset")
        texts = (sample.source, sample.group, sample.split)
        yield Entry(
            _cell(relative_name(sample, root)),
            facts.sha256,
            str(facts.size_bytes),
            LABELS[sample.is_fake],
            *map(_cell, texts),
        )


def write_manifest(
    dataset: Dataset,
    path: Path,
    *,
    cache: Path | None = None,
    threads: int | None = None,
    labels: Counter[tuple[str, bool]] | None = None,
) -> tuple[int, str]:
    """Write the manifest of a dataset as CSV; after a kill, the next call continues where this one stopped.

    Args:
        dataset: Dataset to read.
        path: CSV file, which is written as a whole or not at all.
        cache: File that keeps the hashes that are known already. By default it lies beside ``path`` and is removed in
            the end.
        threads: Number of threads; by default as many as the process may use.
        labels: See :func:`entries`.

    Returns:
        The number of files, and the hash of their entries (:func:`hash_of`).

    Raises:
        TrainingDataError: A file cannot be read or is listed twice.
    """
    kept = cache or path.with_name(f"{path.name}.state")
    hashes: list[bytes] = []
    seen: set[str] = set()
    with (
        FactCache(kept) as known,
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for entry in entries(dataset, cache=known, threads=threads, labels=labels):
            if entry.path in seen:
                raise TrainingDataError(f"{dataset.root}: {entry.path} is listed twice; keep one row")
            seen.add(entry.path)
            writer.writerow(_CELLS(entry))
            hashes.append(_digest(entry))
    if cache is None:
        kept.unlink(missing_ok=True)
    return len(hashes), _combined(hashes)


def read_manifest(path: Path) -> Iterator[Entry]:
    """Read a manifest that :func:`write_manifest` wrote, and yield its entries.

    Raises:
        TrainingDataError: The file is damaged, or a row leads outside of the dataset or repeats another one.
    """
    seen: set[str] = set()
    for line, cells in csv_rows(path, COLUMNS):
        entry = Entry(*(cells[name] for name in COLUMNS))
        where = f"{path}: row {line}"
        inside(Path(), entry.path, where, absolute=True)
        if len(entry.sha256) != 64 or not entry.bytes.isdecimal() or entry.label not in LABELS:
            raise TrainingDataError(f"{where}: is no entry of a manifest; write it anew by dfbench data manifest --out")
        if entry.path in seen:
            raise TrainingDataError(
                f"{where}: {entry.path} is there twice; write it anew by dfbench data manifest --out"
            )
        seen.add(entry.path)
        yield entry


def verify(
    dataset: Dataset, path: Path, *, threads: int | None = None, labels: Counter[tuple[str, bool]] | None = None
) -> tuple[int, str, Differences]:
    """Read every file of a dataset and compare it with a manifest.

    Only files that the dataset lists are opened, never a file because the manifest names it.

    Args:
        dataset: Dataset to read.
        path: Manifest to compare it with.
        threads: Number of threads; by default as many as the process may use.
        labels: See :func:`entries`.

    Returns:
        The number of files of the dataset, the hash of their entries (:func:`hash_of`), and the differences.

    Raises:
        TrainingDataError: The manifest is damaged, or a file cannot be read.
    """
    expected = {entry.path: entry for entry in read_manifest(path)}
    changed, added, relabelled = [], [], []
    hashes: list[bytes] = []
    present: set[str] = set()
    for entry in entries(dataset, threads=threads, labels=labels):
        hashes.append(_digest(entry))
        present.add(entry.path)
        known = expected.get(entry.path)
        if known is None:
            added.append(entry.path)
        elif known.sha256 != entry.sha256:
            changed.append(entry.path)
        elif known != entry:
            relabelled.append(entry.path)
    missing = [name for name in expected if name not in present]
    return len(hashes), _combined(hashes), Differences(tuple(changed), tuple(missing), tuple(added), tuple(relabelled))


def manifest_hash(dataset: Dataset, *, cache: FactCache | None = None, threads: int | None = None) -> str:
    """Return one sha256 over the names, bytes, labels, sources, groups and splits of a dataset, as a hex digest.

    It depends neither on the order of the files nor on the place of the dataset, so that two machines can tell that
    they train on the same data.

    Args:
        dataset: Dataset to read.
        cache: Cache of facts: unchanged files are not read again, and new facts are added.
        threads: Number of threads; by default as many as the process may use.

    Raises:
        TrainingDataError: A file cannot be read.
    """
    return hash_of(entries(dataset, cache=cache, threads=threads))


def held_out_hashes(dataset: Dataset, known: Path | None = None) -> tuple[str, ...]:
    """Return the hashes by which a dataset, or its split ``valid`` alone, can be recognised.

    These are :func:`manifest_hash` of the whole dataset, of the samples of its split ``valid``, and of the same
    samples without the name of their split. The result is empty where a file cannot be read: then the dataset has no
    hash.

    Args:
        dataset: Dataset to hash.
        known: File of a :class:`~deepfake_core.data.fact_cache.FactCache` with the hashes of files that were read
            before; new hashes are added. By default every file is read.
    """
    every: list[bytes] = []
    held_out: list[bytes] = []
    unnamed: list[bytes] = []
    try:
        with locked_cache(known) if known is not None else nullcontext() as cache:
            for entry in entries(dataset, cache=cache):
                every.append(_digest(entry))
                if entry.split == "valid":
                    held_out.append(every[-1])
                    unnamed.append(_digest(replace(entry, split="")))
    except TrainingDataError:
        return ()
    return tuple(_combined(part) for part in (every, held_out, unnamed) if part)


def hash_of(manifest: Iterable[Entry]) -> str:
    """Return the hash of a manifest as a hex digest; it does not depend on the order of the entries."""
    return _combined([_digest(entry) for entry in manifest])


def _digest(entry: Entry) -> bytes:
    path = PurePosixPath(entry.path)
    # The folder of a file outside of the dataset's folder is a property of this machine and not of the data.
    name = path.name if path.is_absolute() else entry.path
    return hashlib.sha256(json.dumps([name, *_CELLS(entry)[1:]]).encode()).digest()


def _combined(hashes: list[bytes]) -> str:
    return hashlib.sha256(b"".join(sorted(hashes))).hexdigest()


def _cell(text: str) -> str:
    """Return a text that survives a CSV file unchanged: UTF-8, without line breaks and outer blanks."""
    escaped = text.encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in escaped).strip()

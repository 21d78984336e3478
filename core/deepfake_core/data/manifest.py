"""The sha256 of every file of a dataset, written down and verified (001-32)."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from deepfake_core.data.check import LABELS
from deepfake_core.data.inspect import Want, inspect_all
from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.data.state import State, in_turn
from deepfake_core.datasets.files import inside
from deepfake_core.datasets.tables import rows as csv_rows
from deepfake_core.errors import TrainingDataError
from deepfake_registry.files import atomic_path

if TYPE_CHECKING:
    from deepfake_core.datasets import Dataset


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a dataset.

    Attributes:
        path: Relative to the dataset's folder, with ``!member`` in an archive; escaped where it is no UTF-8 text.
        sha256: Hex digest of its bytes.
        bytes: Their number.
        label: ``real`` or ``fake``.
        source, group, split: As the dataset has them.
    """

    path: str
    sha256: str
    bytes: str
    label: str
    source: str
    group: str
    split: str


COLUMNS = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True, slots=True)
class Differences:
    """How a dataset differs from its manifest.

    Attributes:
        changed: Files whose bytes differ.
        missing: Files of the manifest that the dataset lacks.
        added: Files that the manifest lacks.
        relabelled: Files whose label, source, group or split differs.
    """

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    relabelled: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added or self.relabelled)


def entries(dataset: Dataset, *, state: State | None = None, threads: int | None = None) -> Iterator[Entry]:
    """Read every file and yield its entry, in the dataset's order.

    Args:
        dataset: What to go through.
        state: What is known of unchanged files already.
        threads: By default what the machine allows.

    Raises:
        TrainingDataError: A file cannot be read.
    """
    root = folder_of(dataset)
    want = Want(content=False)
    for sample, facts in inspect_all(dataset, want, state=state, threads=threads, description="hashing"):
        assert facts is not None, "all files are looked into"
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
    dataset: Dataset, path: Path, *, state: Path | None = None, threads: int | None = None
) -> tuple[int, str]:
    """Write the manifest as CSV; a run that was killed goes on where it was.

    Args:
        dataset: What to write down.
        path: The CSV file, written whole or not at all.
        state: Where hashes are kept meanwhile; by default beside ``path``, and removed in the end.
        threads: By default what the machine allows.

    Returns:
        The number of files, and :func:`hash_of` their entries.

    Raises:
        TrainingDataError: A file cannot be read, or is listed twice.
    """
    kept = state or path.with_name(f"{path.name}.state")
    hashes: list[bytes] = []
    seen: set[str] = set()
    with (
        State(kept) as known,
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for entry in entries(dataset, state=known, threads=threads):
            if entry.path in seen:
                raise TrainingDataError(f"{dataset.root}: {entry.path} is listed twice; keep one row")
            seen.add(entry.path)
            writer.writerow(astuple(entry))
            hashes.append(_digest(entry))
    if state is None:
        kept.unlink(missing_ok=True)
    return len(hashes), _combined(hashes)


def read_manifest(path: Path) -> Iterator[Entry]:
    """Read what :func:`write_manifest` wrote.

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


def verify(dataset: Dataset, path: Path, *, threads: int | None = None) -> tuple[int, str, Differences]:
    """Read every file and compare it with the manifest; nothing that the manifest names is opened.

    Returns:
        The number of files, :func:`hash_of` what is there now, and the differences.

    Raises:
        TrainingDataError: The manifest is damaged, or a file cannot be read.
    """
    expected = {entry.path: entry for entry in read_manifest(path)}
    changed, added, relabelled = [], [], []
    hashes: list[bytes] = []
    present: set[str] = set()
    for entry in entries(dataset, threads=threads):
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


def manifest_hash(dataset: Dataset, *, state: State | None = None, threads: int | None = None) -> str:
    """One sha256 over the names, bytes, labels, sources, groups and splits of a dataset.

    It depends neither on the order of files nor on where the dataset lies, so that two machines can tell that they
    train on the same data. Every file is read, unless ``state`` knows it.

    Raises:
        TrainingDataError: A file cannot be read.
    """
    return hash_of(entries(dataset, state=state, threads=threads))


def held_out_hashes(dataset: Dataset, known: Path | None = None) -> tuple[str, ...]:
    """What :func:`manifest_hash` gives for a dataset and for its split ``valid``, named so or not.

    Nothing where a file cannot be read: then the dataset has no hash.

    Args:
        dataset: What to hash.
        known: File with the hashes of what was read before (:class:`~deepfake_core.data.state.State`); it takes the
            others. Without, every file is read.
    """
    try:
        with in_turn(known) if known is not None else nullcontext() as state:
            every = list(entries(dataset, state=state))
    except TrainingDataError:
        return ()
    held_out = [entry for entry in every if entry.split == "valid"]
    unnamed = [replace(entry, split="") for entry in held_out]
    return tuple(hash_of(part) for part in (every, held_out, unnamed) if part)


def hash_of(manifest: Iterable[Entry]) -> str:
    """The one hash of a manifest, whatever the order of its entries."""
    return _combined([_digest(entry) for entry in manifest])


def _digest(entry: Entry) -> bytes:
    path = PurePosixPath(entry.path)
    # A file outside of the dataset's folder is where this machine has it, which is no property of the data.
    name = path.name if path.is_absolute() else entry.path
    return hashlib.sha256(json.dumps([name, *astuple(entry)[1:]]).encode()).digest()


def _combined(hashes: list[bytes]) -> str:
    return hashlib.sha256(b"".join(sorted(hashes))).hexdigest()


def _cell(text: str) -> str:
    """Text that a CSV file gives back as it was: UTF-8, without line breaks and outer blanks."""
    escaped = text.encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in escaped).strip()

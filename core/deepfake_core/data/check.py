"""Check whether a dataset is fit for training and measuring: layout, labels, every file, duplicates and leaks."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deepfake_core.data.inspect import Facts, Want, digest, inspect_all
from deepfake_core.data.leaks import LeakFinder, near_duplicates
from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.datasets.labels import labels_read
from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.samples import Subset
from deepfake_core.progress import track

if TYPE_CHECKING:
    from deepfake_core.data.fact_cache import FactCache
    from deepfake_core.datasets import Dataset, Sample

MAX_BAD = 0.01
"""Largest share of unreadable files that is accepted, here and by training."""

_LISTED = 1000
"""Most names that a finding keeps; its count covers all."""

LABELS = ("real", "fake")


@dataclass(frozen=True, slots=True)
class Finding:
    """Problem of a dataset.

    Attributes:
        level: ``"error"`` if it makes the dataset unfit, otherwise ``"warning"``.
        text: Description of the problem, with what to do about it.
        count: Number of files or pairs that have the problem.
        names: Names of the first of them.
    """

    level: Literal["error", "warning"]
    text: str
    count: int = 0
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.names:
            return self.text
        more = self.count - 5
        return f"{self.text}: {', '.join(self.names[:5])}" + (f" and {more} more" if more > 0 else "")


@dataclass(slots=True)
class Cell:
    """Counts of one source, class and split.

    Attributes:
        source: Name of the source.
        label: ``"real"`` or ``"fake"``.
        split: Name of the split; ``""`` where the dataset has none.
        samples: Number of samples.
        groups: Number of groups.
        unreadable: Number of files that cannot be used.
    """

    source: str
    label: str
    split: str
    samples: int = 0
    groups: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class CheckReport:
    """Result of a check.

    Attributes:
        dataset: Root of the dataset.
        samples: Number of samples.
        examined: Number of files that were inspected.
        identities: Number of identities that the dataset names.
        cells: Counts of each source, class and split.
        unreadable: ``(name, reason)`` of every file that cannot be used.
        findings: Problems that were found, errors first.
        labels: How the dataset's labels were read, with the number of samples of each.
    """

    dataset: str
    samples: int
    examined: int
    identities: int
    cells: tuple[Cell, ...]
    unreadable: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    labels: str = ""

    @property
    def fit(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.level != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON."""
        return {"fit": self.fit, **asdict(self)}


@dataclass
class _Rows:
    """Everything that a check collects while it reads the files."""

    names: list[str] = field(default_factory=list)
    fake: list[bool] = field(default_factory=list)
    cells: dict[tuple[str, bool, str], Cell] = field(default_factory=dict)
    groups: dict[tuple[str, bool, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    identities: set[str] = field(default_factory=set)
    labels: Counter[tuple[str, bool]] = field(default_factory=Counter)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    examined: int = 0
    rows_of: dict[str, int] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    first: dict[bytes, int] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)
    both: list[str] = field(default_factory=list)
    videos: dict[int, list[tuple[int, Sample]]] = field(default_factory=lambda: defaultdict(list))
    hashes: list[int] = field(default_factory=list)
    hashed: list[tuple[int, str]] = field(default_factory=list)
    leaks: LeakFinder = field(default_factory=LeakFinder)

    def add(self, name: str, sample: Sample, facts: Facts | None) -> None:
        row = len(self.names)
        self.names.append(name)
        self.fake.append(sample.is_fake)
        key = sample.source, sample.is_fake, sample.split
        cell = self.cells.setdefault(key, Cell(sample.source, LABELS[sample.is_fake], sample.split))
        cell.samples += 1
        self.groups[key].add(sample.group)
        self.identities.update(sample.identities)
        self.labels[sample.label, sample.is_fake] += 1
        earlier = self.rows_of.setdefault(name, row)
        if earlier != row:
            (self.repeated if self.fake[earlier] == sample.is_fake else self.contradicted).append(name)
        self.leaks.add(sample, name, "" if facts is None or facts.video else facts.sha256)
        if facts is None:
            return
        self.examined += 1
        if facts.error:
            cell.unreadable += 1
            self.unreadable.append((name, facts.error))
        if facts.video:
            self.videos[facts.size_bytes].append((row, sample))
        elif facts.sha256 and earlier == row:
            self.file(row, facts.sha256)
        if facts.phash is not None and not facts.error:
            self.hashes.append(facts.phash)
            self.hashed.append((row, sample.split))

    def file(self, row: int, sha256: str) -> None:
        """Record the hash of a row that is the first one of its name."""
        first = self.first.setdefault(bytes.fromhex(sha256[:32]), row)
        if first != row:
            pair = f"{self.names[first]} = {self.names[row]}"
            (self.copies if self.fake[first] == self.fake[row] else self.both).append(pair)


def check(
    dataset: Dataset,
    *,
    max_bad: float = MAX_BAD,
    max_images: int | None = None,
    near: bool = False,
    cache: FactCache | None = None,
    threads: int | None = None,
) -> CheckReport:
    """Read the layout and the labels of a dataset, inspect its files, and report the problems.

    Args:
        dataset: Dataset to check.
        max_bad: Largest share of unreadable files that is no error.
        max_images: Most files that are inspected, evenly spread; layout and labels are always checked in full.
        near: Whether to search for images in different splits that look the same; this needs the ``data`` extra.
        cache: Cache of facts: unchanged files are not read again, and new facts are added.
        threads: Number of threads; by default as many as the process may use.

    Raises:
        TrainingDataError: The layout or a label is wrong, or there are no samples.
        MissingExtra: ``near`` is true and the extra is not installed.
    """
    root = folder_of(dataset)
    rows = _Rows()
    want = Want(digest="pictures", phash=near)
    for sample, facts in inspect_all(dataset, want, cache=cache, max_images=max_images, threads=threads):
        rows.add(relative_name(sample, root), sample, facts)
    if not rows.names:
        raise TrainingDataError(f"{dataset.root}: no samples at all; name another folder or layout")
    same_size = [video for videos in rows.videos.values() if len(videos) > 1 for video in videos]
    rows_of: dict[Sample, deque[int]] = defaultdict(deque)
    for row, sample in same_size:
        rows_of[sample].append(row)
    videos = Subset(dataset, (sample for _, sample in same_size)).stream() if same_size else ()
    for sample, data in track(videos, "comparing videos of equal size", total=len(same_size)):
        row, sha256 = rows_of[sample].popleft(), digest(data)
        rows.leaks.add(sample, rows.names[row], sha256)
        rows.file(row, sha256)
    for key, cell in rows.cells.items():
        cell.groups = len(rows.groups[key])
    findings = [
        *_unreadable(rows, max_bad),
        *_classes(rows.cells.values()),
        *_duplicates(rows),
        *_leaks(rows),
        *(_near(rows) if near else ()),
    ]
    return CheckReport(
        dataset=str(dataset.root),
        samples=len(rows.names),
        examined=rows.examined,
        identities=len(rows.identities),
        labels=labels_read(rows.labels),
        cells=tuple(sorted(rows.cells.values(), key=lambda cell: (cell.source, cell.split, cell.label))),
        unreadable=tuple(rows.unreadable),
        findings=tuple(sorted(findings, key=lambda finding: finding.level)),
    )


def _finding(level: Literal["error", "warning"], text: str, names: Sequence[str]) -> Iterable[Finding]:
    if names:
        yield Finding(level, f"{len(names):,} {text}", len(names), tuple(names[:_LISTED]))


def _unreadable(rows: _Rows, max_bad: float) -> Iterable[Finding]:
    names = [f"{name} ({reason})" for name, reason in rows.unreadable]
    share = len(names) / max(1, rows.examined)
    if names and len(names) == rows.examined:
        yield from _finding("error", "files, and none of them can be read", names)
    elif share > max_bad:
        text = f"of {rows.examined:,} files cannot be read, more than {max_bad:.1%}; get them again or remove them"
        yield from _finding("error", text, names)
    else:
        yield from _finding("warning", f"of {rows.examined:,} files cannot be read", names)


def _classes(cells: Iterable[Cell]) -> Iterable[Finding]:
    """Yield a finding where a class has no usable file, in the whole dataset or in a split."""
    usable: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(LABELS, 0))
    for cell in cells:
        usable[cell.split][cell.label] += cell.samples - cell.unreadable
    for label in LABELS:
        if not any(counts[label] for counts in usable.values()):
            yield Finding("warning", f"the dataset has no usable {label} sample; accuracy cannot be measured on it")
    for split, counts in usable.items():
        empty = [label for label, count in counts.items() if not count]
        if split and empty and len(empty) < len(LABELS):
            text = f"the split {split!r} has no usable {empty[0]} sample; divide the dataset anew by dfbench data split"
            # Nothing can be measured on one class, but another dataset may bring the other class for training.
            yield Finding("warning" if split == "train" else "error", text)


def _duplicates(rows: _Rows) -> Iterable[Finding]:
    yield from _finding("error", "files are listed as real and as fake; correct their labels", rows.contradicted)
    yield from _finding("warning", "files are listed twice", rows.repeated)
    yield from _finding("error", "pairs of files have the same bytes but different labels; remove one", rows.both)
    yield from _finding("warning", "pairs of files have the same bytes", rows.copies)


def _leaks(rows: _Rows) -> Iterable[Finding]:
    texts = {
        "group": "groups (videos or sequences) are in two splits; divide them anew by dfbench data split",
        "identity": "persons are in two splits; divide them anew by dfbench data split",
        "bytes": "files are in two splits; remove the copies",
    }
    leaks = rows.leaks.leaks()
    for kind, text in texts.items():
        yield from _finding("error", text, [str(leak) for leak in leaks if leak.kind == kind])


def _near(rows: _Rows) -> Iterable[Finding]:
    numbers = {split: number for number, split in enumerate(sorted({split for _, split in rows.hashed} - {""}))}
    splits = np.array([numbers.get(split, -1) for _, split in rows.hashed], np.int64)
    pairs = near_duplicates(np.array(rows.hashes, np.uint64), splits)
    shown = [
        f"{rows.names[rows.hashed[a][0]]} ~ {rows.names[rows.hashed[b][0]]} ({bits} bits)"
        for a, b, bits in pairs.tolist()
    ]
    yield from _finding("warning", "pairs of pictures in different splits look the same", shown)

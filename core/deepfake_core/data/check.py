"""Is a dataset fit to train and to measure on: layout, labels, every file, duplicates and leaks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deepfake_core.data.inspect import Facts, Want, digest, inspect_all
from deepfake_core.data.leaks import LeakFinder, near_duplicates
from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.errors import TrainingDataError
from deepfake_core.progress import track

if TYPE_CHECKING:
    from deepfake_core.data.state import State
    from deepfake_core.datasets import Dataset, Sample

MAX_BAD = 0.01
"""Share of unreadable files beyond which training stops too (requirement 001-26, resolution 14)."""

_LISTED = 1000
"""Names that a finding keeps; its count is of all."""

LABELS = ("real", "fake")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, or worth knowing.

    Attributes:
        level: An error makes the dataset unfit.
        text: What it is, with what to do.
        count: How many files or pairs it is about.
        names: The first of them.
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
    """Samples of one source, class and split."""

    source: str
    label: str
    split: str
    samples: int = 0
    groups: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        dataset: Its root.
        samples: Rows of the dataset.
        examined: Files that were looked into.
        identities: Persons that it names.
        cells: Counts per source, class and split.
        unreadable: ``(name, reason)`` of every file that cannot be used.
        findings: Errors first.
    """

    dataset: str
    samples: int
    examined: int
    identities: int
    cells: tuple[Cell, ...]
    unreadable: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]

    @property
    def fit(self) -> bool:
        """Whether there is no error."""
        return all(finding.level != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {"fit": self.fit, **asdict(self)}


@dataclass
class _Rows:
    """What a check remembers of all files while it goes through them."""

    names: list[str] = field(default_factory=list)
    fake: list[bool] = field(default_factory=list)
    cells: dict[tuple[str, bool, str], Cell] = field(default_factory=dict)
    groups: dict[tuple[str, bool, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    identities: set[str] = field(default_factory=set)
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
        """Take the bytes of a row that is the first of its name."""
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
    state: State | None = None,
    threads: int | None = None,
) -> CheckReport:
    """Read the layout and the labels, look into the files, and say what is wrong.

    Args:
        dataset: What to check.
        max_bad: Share of unreadable files that is no error yet.
        max_images: Look into this many files at most, evenly spread; layout and labels are checked in full.
        near: Also look for pictures in different splits that look the same; needs the ``data`` extra.
        state: What is known of files from an earlier check, and what becomes known.
        threads: By default what the machine allows.

    Raises:
        TrainingDataError: The layout or a label is wrong, or there are no samples.
        MissingExtra: ``near`` without the extra.
    """
    root = folder_of(dataset)
    rows = _Rows()
    want = Want(digest="pictures", phash=near)
    for sample, facts in inspect_all(dataset, want, state=state, max_images=max_images, threads=threads):
        rows.add(relative_name(sample, root), sample, facts)
    if not rows.names:
        raise TrainingDataError(f"{dataset.root}: no samples at all; name another folder or layout")
    same_size = [video for videos in rows.videos.values() if len(videos) > 1 for video in videos]
    for row, sample in track(same_size, "comparing videos of equal size", total=len(same_size)):
        sha256 = digest(dataset.read(sample))
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
    """Whether usable files of both classes are there at all, and in every split."""
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
            # Nothing can be measured on one class; training may take the other one from elsewhere.
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

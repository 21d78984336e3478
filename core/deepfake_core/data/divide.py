"""Divide a dataset into the splits train, valid and test, and write the result as a CSV dataset."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deepfake_core.data.check import LABELS
from deepfake_core.data.inspect import digest
from deepfake_core.data.leaks import Leak, find_leaks
from deepfake_core.data.naming import folder_of, relative_name
from deepfake_core.data.splits import complete_splits, families
from deepfake_core.datasets.labels import some
from deepfake_core.errors import TrainingDataError
from deepfake_core.progress import track
from deepfake_registry.files import atomic_path

if TYPE_CHECKING:
    from deepfake_core.datasets import Dataset, Sample

By = Literal["identity", "group", "source"]
"""Unit that a division keeps together, see :func:`divide_dataset`."""

COLUMNS = ("path", "label", "source", "group", "split", "identity")
"""Columns of the CSV file, in order."""


@dataclass(frozen=True)
class Division:
    """Dataset whose samples were divided into splits.

    Attributes:
        root: Folder that the written paths start from.
        samples: All samples with their new split, in the dataset's order.
        asked: Splits that were asked for.
        ties: Number of copies of other files; copies are kept in one split.
        leaks: Leaks that remain because the division keeps only groups together.
    """

    root: Path
    samples: tuple[Sample, ...]
    asked: tuple[str, ...]
    ties: int
    leaks: tuple[Leak, ...]

    def counts(self) -> list[tuple[str, str, dict[str, int]]]:
        """Return ``(source, label, number of samples by split)`` for every source and class, sorted."""
        cells: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for sample in self.samples:
            cells[sample.source, LABELS[sample.is_fake]][sample.split] += 1
        return [(source, label, dict(counts)) for (source, label), counts in sorted(cells.items())]

    def one_class(self) -> list[str]:
        """Return the splits that lack one of the classes or both."""
        seen: dict[str, set[bool]] = {split: set() for split in self.asked}
        for sample in self.samples:
            seen.setdefault(sample.split, set()).add(sample.is_fake)
        return sorted(split for split, classes in seen.items() if len(classes) < len(LABELS))

    def write(self, path: Path) -> None:
        """Write the CSV file that the layout ``csv`` reads; its labels are the words ``real`` and ``fake``.

        Args:
            path: File to write, as a whole or not at all.

        Raises:
            TrainingDataError: A path holds characters that a CSV file does not preserve.
        """
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            for sample in self.samples:
                name = relative_name(sample, self.root)
                if not name.isprintable() or name != name.strip():
                    raise TrainingDataError(f"{name!a}: cannot be written to a CSV file; rename the file")
                identity = ";".join(person.replace(";", ",") for person in sample.identities)
                cells = (name, LABELS[sample.is_fake], sample.source, sample.group, sample.split, identity)
                writer.writerow(cells)


def divide_dataset(
    dataset: Dataset,
    *,
    valid: float = 0.15,
    test: float = 0.15,
    by: By = "identity",
    seed: int = 0,
    keep: bool = True,
    compare: bool = True,
) -> Division:
    """Divide a dataset so that nothing is in two splits and every source and class has the shares asked for.

    Args:
        dataset: Dataset to divide; its samples are files, not members of archives.
        valid: Share of the samples for the split ``valid``.
        test: Share of the samples for the split ``test``.
        by: Unit that stays in one split. ``"group"``: each video or sequence. ``"identity"``: also all groups that
            share a person. ``"source"``: also each whole source.
        seed: Seed of the division.
        keep: Whether to keep the splits that the dataset brings and to make only those that it lacks.
        compare: Whether to read files of equal size and to keep identical files in one split.

    Raises:
        TrainingDataError: The samples lie in archives, there are none, a share is out of range, or the splits that the
            dataset brings leak.
    """
    if valid < 0 or test < 0 or valid + test >= 1:
        raise TrainingDataError(f"valid={valid:g} and test={test:g} leave nothing to train on; lower them")
    root = folder_of(dataset)
    samples = list(dataset)
    if not samples:
        raise TrainingDataError(f"{dataset.root}: no samples at all; name another folder or layout")
    archived = next((sample for sample in samples if sample.member or sample.span is not None), None)
    if archived is not None:
        raise TrainingDataError(
            f"{archived.name}: lies in an archive, which a CSV file cannot name; prepare the dataset instead, training "
            "divides what it has no split for"
        )
    digests = _digests(samples) if compare else [""] * len(samples)
    leaks = [leak for leak in find_leaks(samples, digests, root) if leak.kind != "identity" or by != "group"]
    if keep and leaks:
        accept = "accept it by --by group, " if all(leak.kind == "identity" for leak in leaks) else ""
        raise TrainingDataError(
            f"{dataset.root}: its own splits leak: {some([str(leak) for leak in leaks])}; {accept}correct them, or "
            "divide anew by --ignore-splits"
        )
    repeated = {sha256: count for sha256, count in Counter(digests).items() if count > 1 and sha256}
    ties = [
        (*(sample.identities if by != "group" else ()), *([f"bytes {sha256}"] if sha256 in repeated else []))
        for sample, sha256 in zip(samples, digests, strict=True)
    ]
    if by == "source":
        ties = [(*tie, f"source {sample.source}") for sample, tie in zip(samples, ties, strict=True)]
    family = families([sample.group for sample in samples], ties)
    # Where sources stay whole, they cannot be spread over the splits.
    strata = [(sample.source if by != "source" else "", sample.is_fake) for sample in samples]
    given = [sample.split if keep else "" for sample in samples]
    splits = complete_splits(family, strata, given, {"valid": valid, "test": test}, seed=seed)
    divided = tuple(replace(sample, split=split) for sample, split in zip(samples, splits, strict=True))
    copies = sum(count - 1 for count in repeated.values())
    asked = ("train", *(split for split, share in (("valid", valid), ("test", test)) if share))
    return Division(root, divided, asked, copies, tuple(find_leaks(divided, digests, root)))


def _digests(samples: Sequence[Sample]) -> list[str]:
    """Return the sha256 of every file that has the size of another one, and ``""`` for the other files."""
    digests = [""] * len(samples)
    try:
        sizes = [sample.path.stat().st_size for sample in samples]
        shared = {size for size, count in Counter(sizes).items() if count > 1}
        rows = [row for row, size in enumerate(sizes) if size in shared]
        for row in track(rows, "comparing files of equal size", total=len(rows)):
            digests[row] = digest(samples[row].path)
    except OSError as error:
        raise TrainingDataError(f"{error.filename}: cannot be read ({error.strerror}); restore it") from error
    return digests

"""Find leaks between splits: groups, identities, files, and images that look the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.naming import relative_name

if TYPE_CHECKING:
    from deepfake_core.datasets import Sample

Kind = Literal["group", "identity", "bytes"]
"""Kind of a leak: a group, an identity, or the bytes of a file."""

MAX_DISTANCE = 3
"""Largest number of bits, of 64, in which the perceptual hashes of near-duplicates differ.

Two versions of one image differ in at most so many bits; two portraits that were aligned alike hardly ever differ in so
few."""


_CROWD = 64
"""Most hashes with a common part that are all compared with each other."""

_MOST_TABLES = 64
"""Most times that the hashes are sorted."""

Hashes: TypeAlias = NDArray[np.uint64]
Places: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Leak:
    """Group, identity or file that is in more than one split.

    Attributes:
        kind: Kind of the leak.
        name: Name of the group or the identity, or the start of the files' sha256.
        places: For each split, the name of a file in it.
    """

    kind: Kind
    name: str
    places: dict[str, str]

    def __str__(self) -> str:
        found = ", ".join(f"{split}: {name}" for split, name in self.places.items())
        return f"{self.kind} {self.name} ({found})"


class LeakFinder:
    """Finder of leaks, which takes samples one by one; samples without a split cannot leak."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Kind, str], tuple[str, str]] = {}
        self._leaks: dict[tuple[Kind, str], dict[str, str]] = {}

    def add(self, sample: Sample, name: str, digest: str = "") -> None:
        """Record one sample.

        Args:
            sample: Sample to record.
            name: Name of the sample in :attr:`Leak.places`.
            digest: Hex sha256 of the sample's bytes; ``""`` where it is not known.
        """
        if not sample.split:
            return
        self._see("group", sample.group, sample.split, name)
        for identity in sample.identities:
            self._see("identity", identity, sample.split, name)
        if digest:
            self._see("bytes", digest[:16], sample.split, name)

    def leaks(self) -> list[Leak]:
        """Return the leaks found so far, in the order in which they were found."""
        return [Leak(kind, name, places) for (kind, name), places in self._leaks.items()]

    def _see(self, kind: Kind, name: str, split: str, file: str) -> None:
        first, where = self._seen.setdefault((kind, name), (split, file))
        if first != split:
            self._leaks.setdefault((kind, name), {first: where}).setdefault(split, file)


def find_leaks(samples: Iterable[Sample], digests: Sequence[str] = (), root: Path = Path()) -> list[Leak]:
    """Return the groups, identities and identical files that are in more than one split.

    Args:
        samples: Samples with their splits; samples without a split are ignored.
        digests: Hex sha256 of each sample, if files are to be compared too.
        root: Folder that the names of files start from.
    """
    finder = LeakFinder()
    for row, sample in enumerate(samples):
        finder.add(sample, relative_name(sample, root), digests[row] if digests else "")
    return finder.leaks()


def near_duplicates(
    hashes: NDArray[np.uint64], splits: NDArray[np.integer], distance: int = MAX_DISTANCE
) -> NDArray[np.intp]:
    """Find pairs of images in different splits whose perceptual hashes differ in few bits.

    Two hashes that differ in at most ``distance`` bits are equal in at least one of ``distance + 1`` parts, so only
    hashes that share a part are compared; where many share one, the same is done with the bits that remain. Rows of one
    hash in one split are represented by the first of them.

    Args:
        hashes: ``uint64 [N]``: perceptual hashes.
        splits: ``int [N]``: number of the split, 0 to 62; negative where there is none.
        distance: Largest number of bits that may differ, 0 to 15.

    Returns:
        ``intp [M, 3]``: the two rows of each pair, and the number of bits in which they differ.
    """
    rows = np.flatnonzero(splits >= 0)
    # One entry for each hash and split, represented by its first row.
    pairs = np.stack([hashes[rows], splits[rows].astype(np.uint64)], axis=1)
    unique, first = np.unique(pairs, axis=0, return_index=True)
    value, split, row = unique[:, 0], unique[:, 1], rows[first]
    found = [np.empty((0, 3), np.intp)]
    for a, b in _close(value, split, np.arange(len(value)), list(range(64)), distance, [], 1):
        bits = np.bitwise_count(value[a] ^ value[b]).astype(np.intp)
        found.append(np.stack([np.minimum(row[a], row[b]), np.maximum(row[a], row[b]), bits], axis=1))
    result = np.concatenate(found)
    return result[np.lexsort((result[:, 1], result[:, 0], result[:, 2]))]


def _close(
    value: Hashes, split: Hashes, at: Places, free: list[int], distance: int, ruled_out: list[np.uint64], tables: int
) -> Iterator[tuple[Places, Places]]:
    """Yield the places of pairs in different splits that differ in few bits, each pair once.

    Args:
        value: ``uint64 [N]``: hashes.
        split: ``uint64 [N]``: number of the split of each hash.
        at: ``intp [n]``: places to compare; only hashes that agree in all bits outside of ``free`` are compared.
        free: Bits in which the hashes may differ.
        distance: Largest number of bits that may differ.
        ruled_out: Parts in which a pair must differ, because it is found elsewhere otherwise.
        tables: Number of times that the hashes were sorted to come here.
    """
    # Every part takes bits from the whole hash, because the low frequencies are similar in most portraits.
    parts = [free[number :: distance + 1] for number in range(distance + 1)]
    for number, part in enumerate(parts):
        rest = sorted({*free} - {*part})
        key = value[at] & ~_mask(rest)
        order = np.argsort(key, kind="stable")
        key, places = key[order], at[order]
        differing = [*ruled_out, *map(_mask, parts[:number])]
        alone = np.ones(len(places), np.bool_)
        if tables * len(parts) ** 2 <= _MOST_TABLES:
            # Many similar hashes share a part: they are divided further by the bits that remain.
            alone = _sizes(key) <= _CROWD
            crowd = places[~alone]
            if len(crowd):
                yield from _close(value, split, crowd, rest, distance, differing, tables * len(parts))
        yield from _neighbours(value, split, places[alone], key[alone], distance, differing)


def _neighbours(
    value: Hashes, split: Hashes, places: Places, key: Hashes, distance: int, ruled_out: list[np.uint64]
) -> Iterator[tuple[Places, Places]]:
    """Compare all pairs of hashes that have the same key; the keys are sorted."""
    left = np.arange(len(places))
    step = 0
    while len(left):
        # Compare neighbours at increasing distance, as long as they share the key.
        step += 1
        left = left[left + step < len(places)]
        left = left[key[left] == key[left + step]]
        a, b = places[left], places[left + step]
        differing = value[a] ^ value[b]
        close = (np.bitwise_count(differing) <= distance) & (split[a] != split[b])
        for part in ruled_out:
            close &= (differing & part) != 0
        yield a[close], b[close]


def _sizes(key: Hashes) -> Places:
    """Return how many entries of a sorted array have the value of each entry."""
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.empty(0, np.intp)
    sizes = np.diff(np.append(starts, len(key)))
    return np.repeat(sizes, sizes)


def _mask(bits: Iterable[int]) -> np.uint64:
    return np.uint64(sum(1 << bit for bit in bits))

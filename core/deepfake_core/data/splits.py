"""Divide samples into splits that share no video and no person."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake_core.errors import TrainingDataError
from deepfake_core.evaluation.grouping import places


def families(groups: Sequence[str], identities: Sequence[Sequence[str]] = ()) -> list[str]:
    """Return the family of every row: all groups that are connected through shared identities.

    A face swap shows two persons, so it connects the groups of both, and through them the other swaps of both.

    Args:
        groups: Group of each row; a group may have many rows.
        identities: Persons shown in each row; empty where no row names any.

    Returns:
        Name of each row's family. It is the greatest of the family's groups in the order of strings, so that it
        depends neither on the order of rows nor on the spelling of identities.
    """
    links = _Links()
    nodes = [links.node(("group", group)) for group in groups]
    if len(identities):
        for node, named in zip(nodes, identities, strict=True):
            for identity in named:
                links.join(node, links.node(("identity", identity)))
    names: dict[int, str] = {}
    roots = [links.root(node) for node in nodes]
    for root, group in zip(roots, groups, strict=True):
        if group > names.get(root, ""):
            names[root] = group
    return [names.get(root, "") for root in roots]


def held_out(
    family: ArrayLike,
    strata: Sequence[Hashable] | NDArray[np.integer],
    share: float,
    names: Sequence[str] | None = None,
) -> NDArray[np.bool_]:
    """Choose rows for validation: the families whose names have a hash below ``share``.

    A family is therefore on the same side whatever other families there are, and a larger share contains a smaller one.
    Families are never divided, even where they span several strata. Only where all families with the same set of strata
    would be on one side, the one with the lowest hash is held out, or the one with the highest is not; a single family
    is trained on.

    Args:
        family: Family of each row, as :func:`families` names them.
        strata: Stratum of each row, such as ``(source, fake)`` or its code.
        share: Share of the families, in (0, 1).
        names: Names of the families, where ``family`` holds their codes.

    Returns:
        ``bool [N]``: true for rows of the validation split.
    """
    distinct, member = np.unique(np.asarray(family), return_inverse=True)
    order = _ranks(distinct, names, "")
    chosen = order < np.uint64(share * 2**64)
    for members in _by_strata(member, _codes(strata)):
        ordered = members[np.argsort(order[members], kind="stable")]
        if len(members) == 1 or not chosen[members].any():
            chosen[ordered[0]] = len(members) > 1
        elif chosen[members].all():
            chosen[ordered[-1]] = False
    return chosen[member]


def subset_by_group(
    family: ArrayLike,
    share: float,
    seed: int = 0,
    strata: Sequence[Hashable] | NDArray[np.integer] = (),
    names: Sequence[str] | None = None,
) -> NDArray[np.intp]:
    """Choose a part of the data: whole families with about ``share`` of the rows.

    Args:
        family: Group or family of each row.
        share: Share of the rows, in (0, 1]; 1 keeps everything.
        seed: Seed of the choice. With the same seed, a larger share contains a smaller one.
        strata: Stratum of each row, such as ``(source, fake)`` or its code. Families are grouped by the set of strata
            of their rows; each such group gives its share, and at least one family.
        names: Names of the families, where ``family`` holds their codes.

    Returns:
        ``intp [M]``: chosen rows, ascending.

    Raises:
        ValueError: ``share`` is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
    family = np.asarray(family)
    if share == 1:
        return np.arange(len(family))
    distinct, member, sizes = np.unique(family, return_inverse=True, return_counts=True)
    order = _ranks(distinct, names, f"{seed}/")
    kept = np.zeros(len(distinct), bool)
    for members in _by_strata(member, _codes(strata) if len(strata) else np.zeros(len(member), np.intp)):
        ordered = members[np.argsort(order[members], kind="stable")]
        size = sizes[ordered]
        taken = np.cumsum(size) - size
        # A family is taken if its middle lies within the share, so that the error is at most half a family.
        beyond = (taken > 0) & (taken + size / 2 > share * size.sum())
        kept[ordered[: int(beyond.argmax()) if beyond.any() else len(ordered)]] = True
    return np.flatnonzero(kept[member])


def divide(
    family: Sequence[str], strata: Sequence[Hashable], shares: Mapping[str, float], *, seed: int = 0
) -> list[str]:
    """Return a split for every row, so that families stay whole and every stratum has the shares that are asked for.

    Families are placed one by one, the largest first, each into the split in which its strata are furthest from their
    share (after Sechidis, Tsoumakas & Vlahavas 2011). A seeded hash orders families of equal size.

    Args:
        family: Family of each row.
        strata: Stratum of each row, such as ``(source, fake)``.
        shares: Share of the rows for each split; they add up to 1.
        seed: Seed of the division.

    Raises:
        ValueError: A share is negative, or the shares do not add up to 1.
    """
    if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares must add up to 1, got {dict(shares)}")
    content: dict[str, Counter[Hashable]] = defaultdict(Counter)
    totals: Counter[Hashable] = Counter(strata)
    for name, stratum in zip(family, strata, strict=True):
        content[name][stratum] += 1
    missing = {split: {stratum: share * count for stratum, count in totals.items()} for split, share in shares.items()}
    open_to = [split for split, share in shares.items() if share > 0]
    place: dict[str, str] = {}
    for name in sorted(content, key=lambda name: (-content[name].total(), _shuffled(name, seed))):
        needs = {
            split: sum(count * missing[split][stratum] / totals[stratum] for stratum, count in content[name].items())
            for split in open_to
        }
        place[name] = max(open_to, key=lambda split: needs[split])
        for stratum, count in content[name].items():
            missing[place[name]][stratum] -= count
    return [place[name] for name in family]


def complete_splits(
    family: Sequence[str], strata: Sequence[Hashable], given: Sequence[str], shares: Mapping[str, float], *, seed: int
) -> list[str]:
    """Return a split for every row of a dataset that brings splits for some of its rows or for all.

    Rows that the dataset assigns to ``valid`` or ``test`` stay there, and so does the rest of their family. A split
    that the dataset lacks is taken from the other rows, in the shares asked for; a split that it has gets no more rows.

    Args:
        family: Family of each row.
        strata: Stratum of each row, such as ``(source, fake)``.
        given: The dataset's own split of each row, ``""`` where it has none.
        shares: Shares of ``"valid"`` and ``"test"`` among the rows that the dataset leaves open; the rest becomes
            ``"train"``.
        seed: Seed of the division.

    Raises:
        TrainingDataError: The dataset's own splits divide a family.
    """
    fixed: dict[str, str] = {}
    for name, split in zip(family, given, strict=True):
        if split and fixed.setdefault(name, split) != split:
            raise TrainingDataError(
                f"the dataset's own splits leak: family {name!r} is in {fixed[name]!r} and in {split!r}; ignore them "
                "by --ignore-splits, or correct them"
            )
    brought = set(fixed.values())
    wanted = {split: share for split, share in shares.items() if split not in brought}
    # The dataset's training split may be divided further; its other splits may not.
    rows = [row for row, name in enumerate(family) if fixed.get(name, "train") == "train"]
    if not wanted:
        return [fixed.get(name, "train") for name in family]
    wanted["train"] = 1.0 - sum(wanted.values())
    order: dict[str, float] = {split: wanted[split] for split in ("train", "valid", "test") if split in wanted}
    new = divide([family[row] for row in rows], [strata[row] for row in rows], order, seed=seed)
    result = [fixed.get(name, "") for name in family]
    for row, split in zip(rows, new, strict=True):
        result[row] = split
    return result


class _Links:
    """Disjoint sets (union-find) of hashable keys."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}
        self.parent: list[int] = []

    def node(self, key: Hashable) -> int:
        number = self.numbers.setdefault(key, len(self.parent))
        if number == len(self.parent):
            self.parent.append(number)
        return number

    def root(self, node: int) -> int:
        parent = self.parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(self, first: int, second: int) -> None:
        self.parent[self.root(first)] = self.root(second)


def _codes(values: ArrayLike | Sequence[Hashable]) -> NDArray[np.intp]:
    """Return a number for each of N values, ``intp [N]``, which is the same for equal values."""
    if isinstance(values, np.ndarray):
        return np.unique(values, return_inverse=True)[1]
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in cast("Sequence[Hashable]", values)], np.intp)


def _by_strata(member: NDArray[np.intp], stratum: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Group families by the set of strata of their rows.

    Args:
        member: Number of each row's family, ``intp [N]``.
        stratum: Number of each row's stratum, ``intp [N]``.

    Returns:
        Numbers of the families in each group.
    """
    pairs = np.unique(member.astype(np.int64) << 32 | stratum)
    numbers, strata = pairs >> 32, pairs & 0xFFFFFFFF
    counts = np.bincount(numbers)
    starts = np.cumsum(counts) - counts
    group = strata[starts]
    several: dict[bytes, int] = {}
    for number in np.flatnonzero(counts > 1).tolist():
        shown = strata[starts[number] : starts[number] + counts[number]].tobytes()
        group[number] = -1 - several.setdefault(shown, len(several))
    return list(places(group).values())


def _ranks(families: NDArray[Any], names: Sequence[str] | None, prefix: str) -> NDArray[np.uint64]:
    """Return numbers that order families by the hash of their names, the same on every machine: ``uint64 [F]``."""
    texts = (str(family) if names is None else names[int(family)] for family in families)
    hashes = (hashlib.sha256(f"{prefix}{text}".encode("utf-8", "surrogateescape")).digest() for text in texts)
    return np.fromiter((int.from_bytes(digest[:8], "big") for digest in hashes), np.uint64, len(families))


def _shuffled(name: str, seed: int) -> bytes:
    """Return a sort key that is the same on every machine and unrelated to the order of the names."""
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()
